"""What HMAC-SHA-256 makes of its key before it sees a message (RFC 2104): enough to make MACs, so as secret as the key."""

import struct
from itertools import islice
from typing import Iterator

MASK = 0xFFFFFFFF


def primes() -> Iterator[int]:
    number = 2
    while True:
        if all(number % divisor for divisor in range(2, int(number**0.5) + 1)):
            yield number
        number += 1


def root_bits(number: int, power: int) -> int:
    """The first 32 bits of the root's fraction (FIPS 180-4, 4.2.2 and 5.3.3)."""
    root, scaled = 0, number << (32 * power)
    for bit in reversed(range(40)):
        if (root | 1 << bit) ** power <= scaled:
            root |= 1 << bit
    return root & MASK


START = [root_bits(prime, 2) for prime in islice(primes(), 8)]
ROUNDS = [root_bits(prime, 3) for prime in islice(primes(), 64)]


def turned(word: int, by: int) -> int:
    return (word >> by | word << (32 - by)) & MASK


def sha256_state(block: bytes) -> list[int]:
    """After one block of 64 bytes."""
    words = list(struct.unpack(">16I", block))
    for at in range(16, 64):
        before, late = words[at - 15], words[at - 2]
        words.append((words[at - 16] + (turned(before, 7) ^ turned(before, 18) ^ before >> 3) + words[at - 7]
                      + (turned(late, 17) ^ turned(late, 19) ^ late >> 10)) & MASK)
    a, b, c, d, e, f, g, h = START
    for constant, word in zip(ROUNDS, words):
        one = h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + (e & f ^ ~e & MASK & g) + constant + word
        two = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + (a & b ^ a & c ^ b & c)
        a, b, c, d, e, f, g, h = (one + two) & MASK, a, b, c, (d + one) & MASK, e, f, g
    return [(start + end) & MASK for start, end in zip(START, (a, b, c, d, e, f, g, h))]


def hmac_states(key: bytes) -> tuple[bytes, bytes]:
    """The inner and the outer one, as they stand in the memory of this machine."""
    padded = key.ljust(64, b"\0")
    inner, outer = (struct.pack("=8I", *sha256_state(bytes(byte ^ pad for byte in padded))) for pad in (0x36, 0x5C))
    return inner, outer
