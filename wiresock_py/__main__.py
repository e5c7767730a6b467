"""``python -m wiresock_py``"""

from wiresock_py.cli import main

if __name__ == "__main__":
    main()
