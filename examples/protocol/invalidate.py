#!/usr/bin/env python3
"""Invalidates keys of a nearcache namespace from outside Go: docs/protocol.md.

invalidate.py HOST:PORT NAMESPACE KEY...    any node of a cluster will do
"""
import hashlib, os, pathlib, socket, sys, zlib

SCRIPTS = pathlib.Path(os.environ.get("NEARCACHE_SCRIPTS") or pathlib.Path(__file__).parents[2] / "l2/scripts")
SOURCE = (SCRIPTS / "record.lua").read_bytes() + (SCRIPTS / "change.lua").read_bytes()
SHA = hashlib.sha1(SOURCE).hexdigest()  # the text is known by it


def reply(stream):
    line = stream.readline()
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise RuntimeError(rest.decode())
    if kind == b"$":
        return None if rest == b"-1" else stream.read(int(rest) + 2)[:-2]
    if kind == b"*":
        return [reply(stream) for _ in range(int(rest))]
    return rest or sys.exit("the server hung up")  # it may have done it: run this again


def call(addr, *args):
    args = [a if isinstance(a, bytes) else str(a).encode() for a in args]
    with socket.create_connection(addr.rsplit(":", 1), timeout=5) as s, s.makefile("rb") as stream:
        s.sendall(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args))
        try:
            return reply(stream)
        except RuntimeError as e:
            if not str(e).startswith("MOVED "):
                raise
            elsewhere = str(e).split()[2]
    return call(elsewhere, *args)


addr, ns, *keys = map(os.fsencode, sys.argv[1:])
addr = addr.decode()
shards = int(call(addr, "GET", b"{%s}:shards" % ns) or sys.exit(f"no namespace {ns.decode()} in this Redis"))
for key in keys:
    tag = b"{%s:%02d}" % (ns, zlib.crc32(key) % shards) if shards > 1 else b"{%s}" % ns
    names = tag + b":seq", tag + b":log", tag + b":v:" + key
    args = os.urandom(8).hex(), tag + b":ch", 10000, "i", b"%d:%s," % (len(key), key)
    try:
        call(addr, "EVALSHA", SHA, 3, *names, *args)
    except RuntimeError as e:
        if not str(e).startswith("NOSCRIPT"):
            raise
        call(addr, "EVAL", SOURCE, 3, *names, *args)
