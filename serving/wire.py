"""What protobuf writes on the wire, where a whole message need not be made."""


def varint(number):
    """A number as protobuf writes it: seven bits a byte, the lowest first, all but the last with the high bit set.

    Args:
        number: not negative.

    Returns:
        bytes.
    """
    if number < 0x80:
        return bytes([number])
    pieces = []
    while number >= 0x80:
        pieces.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*pieces, number])
