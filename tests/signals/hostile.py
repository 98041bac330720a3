"""Payloads within the size that a sender with bad intentions would choose."""

HOSTILE = {
    "quotes never closed": b"[" * 16 + b'"' + b'["[\\"' * 9000,
    "arrays": b'{"a":[' + b"[]," * 21000 + b"[]]}",
    "keys": b"{" + b",".join(b'"k%d":1' % i for i in range(6000)) + b',"k5999":2}',
    "digits": b'{"a":' + b"1" * 65000 + b"}",
    "escapes": b'{"a":"' + b"\\u00e9" * 10000 + b'"}',
}
