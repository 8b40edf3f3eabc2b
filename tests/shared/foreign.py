"""Batches for Kafka as programs in other languages write them."""

from __future__ import annotations

import struct

from aiokafka import codec
from aiokafka.record.util import calc_crc32c

NAME = "gr.sse"
"""A header's name; its dot is to be an o with two dots, which in Latin-1 is one byte, too."""
CODECS = {
    "gzip": (1, codec.gzip_encode),
    "snappy": (2, codec.snappy_encode),
    "lz4": (3, codec.lz4_encode),
    "zstd": (4, codec.zstd_encode),
}
_BODY = 61


def in_latin(batch, packed=None):
    """`batch` with every name like `NAME` in Latin-1, which is no UTF-8, and compressed where one of `CODECS` is named."""
    body = batch[_BODY:].replace(NAME.encode(), NAME.replace(".", "\xf6").encode("latin-1"))
    head = bytearray(batch[:_BODY])
    if packed is not None:
        number, encode = CODECS[packed]
        head[22] |= number
        body = encode(body)
    struct.pack_into(">i", head, 8, len(head) + len(body) - 12)
    struct.pack_into(">I", head, 17, calc_crc32c(bytes(head[21:]) + body))
    return bytes(head) + body
