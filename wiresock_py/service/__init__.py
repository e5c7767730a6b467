"""The program around the engine: supervisor and worker processes, the control socket, the status it serves."""
