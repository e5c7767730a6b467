"""Why the data path dropped a packet: one name a reason, counted where it happens, never raised."""

from enum import StrEnum


class PacketDrop(StrEnum):
    """A named reason; its value is the name the statistics show."""

    # Inner packets, either direction.
    TOO_SHORT = "packet_too_short"  # the IP header or the transport header is not all there
    NOT_IP = "packet_not_ip"  # the version nibble is neither 4 nor 6, or not that of the packet around it
    BAD_LENGTH = "packet_bad_length"  # a length field points outside the packet or below its own header
    BAD_EXTENSION = "packet_bad_extension"  # an IPv6 extension header runs past the packet, or too many of them
    BAD_FRAGMENT = "packet_bad_fragment"  # a fragment that overlaps the transport header (RFC 1858, RFC 3128)
    BAD_CHECKSUM = "packet_bad_checksum"  # an oversized TCP segment that may not be cut: it was corrupt already
    TRUNCATED = "packet_truncated"  # the backend could not hand over the whole packet
    # Outbound.
    BLOCKED = "flow_blocked"
    COUNTER_EXHAUSTED = "session_counter_exhausted"  # the rest of a batch: what comes after waits for new keys
    # Datagrams from the network.
    DATAGRAM_SHORT = "datagram_too_short"
    DATAGRAM_TYPE = "datagram_unknown_type"
    UNKNOWN_SESSION = "datagram_unknown_session"
    COUNTER_LIMIT = "datagram_counter_limit"
    FORGED = "datagram_not_authentic"
    REPLAYED = "datagram_replayed"
    # Authentic datagrams whose inner packet is refused.
    FOREIGN_SOURCE = "inner_foreign_source"  # the flow belongs to another peer
    UNEXPECTED_SYN = "inner_unexpected_syn"  # the far end tries to open what this end has open, or had
    # Fragments.
    FRAGMENT_ORPHAN = "fragment_without_first"  # its first fragment never came, or belongs to no flow
