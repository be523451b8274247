"""Names of the symbols that a shared library offers."""

import struct

SHT_DYNSYM = 11


def exported(data):
    """Names of all symbols that an ELF library of 64 bits, little-endian, defines; `ValueError` where it is something else."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("it is no shared library of a 64-bit Linux machine")
    try:
        (table,) = struct.unpack_from("<Q", data, 40)
        size, count = struct.unpack_from("<HH", data, 58)

        def section(i):
            # Type, offset, bytes, link.
            _, kind, _, _, offset, length, link = struct.unpack_from("<IIQQQQI", data, table + i * size)
            return kind, offset, length, link

        names = []
        for i in range(count):
            kind, offset, length, link = section(i)
            if kind != SHT_DYNSYM:
                continue
            _, strings, _, _ = section(link)
            for at in range(offset, offset + length, 24):
                name, _, _, where = struct.unpack_from("<IBBH", data, at)
                end = data.index(b"\0", strings + name)
                if where != 0:
                    names.append(data[strings + name : end].decode())
        return names
    except (struct.error, UnicodeDecodeError) as e:
        raise ValueError("the shared library is damaged") from e
