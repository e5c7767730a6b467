"""What the protocol fixes. Names are the paper's; numbers in brackets are its sections.

Nothing here is ours to tune: a peer can observe every one of these. Our own bounds stand at the head of the module that
keeps them. Times are seconds, sizes bytes.
"""

# Noise handshake [5.4]
CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
LABEL_MAC1 = b"mac1----"
LABEL_COOKIE = b"cookie--"

# Messages [5.4.2 - 5.4.7]; type and three reserved zero bytes are read as one little-endian word
TYPE_INITIATION = 1
TYPE_RESPONSE = 2
TYPE_COOKIE_REPLY = 3
TYPE_TRANSPORT = 4
INITIATION_SIZE = 148
RESPONSE_SIZE = 92
COOKIE_REPLY_SIZE = 64
TRANSPORT_HEADER_SIZE = 16
TAG_SIZE = 16
TRANSPORT_MIN_SIZE = TRANSPORT_HEADER_SIZE + TAG_SIZE
PADDING_MULTIPLE = 16

# Sessions and timers [6.1]
REKEY_AFTER_MESSAGES = 2**60
REJECT_AFTER_MESSAGES = 2**64 - 2**13 - 1
REKEY_AFTER_TIME = 120.0
REJECT_AFTER_TIME = 180.0
REKEY_TIMEOUT = 5.0
KEEPALIVE_TIMEOUT = 10.0
# The paper stops after REKEY_ATTEMPT_TIME = 90 s; like Linux and wireguard-go we count retries instead: 20 initiations
# in all, over 95 to 101 s. A peer cannot tell the difference.
MAX_TIMER_HANDSHAKES = 18
REKEY_TIMEOUT_JITTER = 0.333

# Receive window: a ring of 8192 counters less one 64-bit word, as in RFC 6479 and every deployed peer
REPLAY_WINDOW = 8128

# Cookies and floods [5.3, 5.4.7]
COOKIE_REFRESH_TIME = 120.0
COOKIE_LATENCY = 5.0
INITIATIONS_PER_SECOND = 50

# TAI64N [5.1, 5.4.2]: TAI was 10 s ahead of UTC in 1970, and the labels start at 2**62. The low 24 bits of the
# nanoseconds are cleared, so that a stamp tells no more than 16.8 ms of our clock.
TAI64_BASE = 2**62 + 10
TAI64N_WHITENED_BITS = 24
