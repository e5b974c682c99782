"""pymemcache as an application would use it: the text protocol, every command that the client has.

usage: pymemcache_suite.py HOST:PORT|SOCKET [CERTIFICATE]

With a certificate it speaks TLS and trusts nobody else.
"""

import ssl
import sys
import time

from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheClientError, MemcacheServerError

IS_SOCKET = sys.argv[1].startswith("/")
PLACE = sys.argv[1]
if not IS_SOCKET:
    HOST, PORT = PLACE.rsplit(":", 1)
    PLACE = (HOST, int(PORT))
TLS = ssl.create_default_context(cafile=sys.argv[2]) if len(sys.argv) > 2 else None


def client():
    return Client(PLACE, connect_timeout=10, timeout=10, no_delay=not IS_SOCKET, tls_context=TLS)


def expect(what, seen, wanted):
    assert seen == wanted, f"{what}: {seen!r:.200} instead of {wanted!r:.200}"


def gone_within(what, seconds, ask):
    """Asks until nothing is there any more."""
    deadline = time.monotonic() + seconds
    while ask() is not None:
        assert time.monotonic() < deadline, f"{what} is still there after {seconds} s"
        time.sleep(0.02)


def raises(error, act):
    try:
        act()
    except error as why:
        return str(why)
    raise AssertionError(f"no {error.__name__}")


def storage(c):
    expect("set", c.set("a", b"1", noreply=False), True)
    expect("get", c.get("a"), b"1")
    expect("absent", c.get("absent"), None)
    expect("add on a present key", c.add("a", b"2", noreply=False), False)
    expect("add", c.add("b", b"2", noreply=False), True)
    expect("replace of nothing", c.replace("c", b"3", noreply=False), False)
    expect("replace", c.replace("b", b"3", noreply=False), True)
    expect("append", c.append("b", b"4", noreply=False), True)
    expect("prepend", c.prepend("b", b"2", noreply=False), True)
    expect("after all", c.get("b"), b"234")
    expect("append to nothing", c.append("c", b"4", noreply=False), False)
    expect("empty value", (c.set("empty", b"", noreply=False), c.get("empty")), (True, b""))
    expect("flags", (c.set("f", b"x", flags=4294967295, noreply=False), c.raw_command(b"get f", b"END\r\n")),
           (True, b"VALUE f 4294967295 1\r\nx\r\n"))
    expect("any bytes", (c.set("bytes", bytes(range(256)) + b"\r\nEND\r\n", noreply=False), c.get("bytes")),
           (True, bytes(range(256)) + b"\r\nEND\r\n"))


def conditions(c):
    c.set("a", b"1", noreply=False)
    value, unique = c.gets("a")
    expect("gets", value, b"1")
    expect("cas", c.cas("a", b"2", unique, noreply=False), True)
    expect("cas that is late", c.cas("a", b"3", unique, noreply=False), False)
    expect("cas of nothing", c.cas("absent", b"3", unique, noreply=False), None)
    expect("value", c.get("a"), b"2")
    expect("gets of nothing", c.gets("absent"), (None, None))
    expect("gets of many", sorted(c.gets_many(["a", "absent"])), ["a"])


def counters(c):
    c.set("n", b"10", noreply=False)
    expect("incr", c.incr("n", 5), 15)
    expect("decr", c.decr("n", 20), 0)
    expect("incr of nothing", c.incr("absent", 1), None)
    c.set("n", b"18446744073709551615", noreply=False)
    expect("wrap-around", c.incr("n", 1), 0)
    c.set("text", b"x", noreply=False)
    why = raises(MemcacheClientError, lambda: c.incr("text", 1))
    assert "non-numeric value" in why, why


def removal(c):
    c.set("a", b"1", noreply=False)
    expect("delete", c.delete("a", noreply=False), True)
    expect("delete of nothing", c.delete("a", noreply=False), False)
    c.set_many({"a": b"1", "b": b"2"}, noreply=False)
    expect("delete of many", c.delete_many(["a", "b"], noreply=False), True)
    expect("nothing left", c.get_many(["a", "b"]), {})


def many(c):
    pairs = {f"key-{number}": f"value {number}".encode() for number in range(1000)}
    expect("set of many", c.set_many(pairs, noreply=False), [])
    expect("get of many", c.get_many(list(pairs) + ["absent"]), pairs)
    expect("pipelined sets", c.set_many({key: b"-" + value for key, value in pairs.items()}, noreply=True), [])
    expect("what they set", c.get("key-999"), b"-value 999")


def quiet(c):
    for number in range(100):
        c.set("q", str(number).encode(), noreply=True)
        c.append("q", b"0", noreply=True)
    expect("after quiet writes", c.get("q"), b"990")
    c.incr("q", 1, noreply=True)
    c.touch("q", 100, noreply=True)
    c.add("q", b"no", noreply=True)
    c.replace("q", b"8", noreply=True)
    c.prepend("q", b"7", noreply=True)
    expect("and more", c.get("q"), b"78")
    c.delete("q", noreply=True)
    expect("quiet delete", c.get("q"), None)


def expiry(c):
    c.set("short", b"x", expire=1, noreply=False)
    c.set("long", b"x", expire=1000, noreply=False)
    c.set("lock", b"locked", expire=1, noreply=False)
    expect("a negative expiry", (c.set("never", b"x", expire=-1, noreply=False), c.get("never")), (True, None))
    expect("an expiry as a date", (c.set("date", b"x", expire=int(time.time()) + 100, noreply=False), c.get("date")),
           (True, b"x"))
    expect("a date that is past", (c.set("past", b"x", expire=int(time.time()) - 100, noreply=False), c.get("past")),
           (True, None))
    gone_within("an item of one second", 3, lambda: c.get("short"))
    gone_within("a lock of one second", 1, lambda: None if c.add("lock", b"mine", noreply=False) else "held")
    expect("touch", c.touch("long", 1, noreply=False), True)
    expect("touch of nothing", c.touch("absent", 1, noreply=False), False)
    gone_within("an item that was touched", 3, lambda: c.get("long"))
    c.set("g", b"x", expire=1000, noreply=False)
    if hasattr(c, "gat"):
        expect("gat", c.gat("g", 1), b"x")
    else:
        expect("gat", c.raw_command(b"gat 1 g", b"END\r\n"), b"VALUE g 0 1\r\nx\r\n")
    gone_within("an item that was got and touched", 3, lambda: c.get("g"))


def sizes(c):
    for size in (20_000, 500_000, 1_000_000):
        value = bytes([size % 251]) * size
        expect(f"set of {size}", c.set("large", value, noreply=False), True)
        expect(f"get of {size}", c.get("large"), value)
    why = raises(MemcacheServerError, lambda: c.set("large", b"x" * 1_100_000, noreply=False))
    assert "object too large for cache" in why, why
    # memcached drops what could not be replaced.
    expect("the old value", c.get("large"), None)
    key = "k" * 250
    expect("the longest key", (c.set(key, b"x", noreply=False), c.get(key)), (True, b"x"))


def administration(c):
    expect("version", c.version(), b"1.6.18")
    stats = c.stats()
    for name in (b"pid", b"uptime", b"version", b"curr_items", b"cmd_get", b"get_hits", b"limit_maxbytes", b"threads"):
        assert name in stats, f"{name} is not in {stats}"
    assert stats[b"get_hits"] > 0 and stats[b"cmd_set"] > 0, stats
    assert c.stats("settings")[b"item_size_max"] == 1048576, c.stats("settings")
    c.set("a", b"1", noreply=False)
    assert any(key.endswith(b":number") for key in c.stats("items")), c.stats("items")
    assert b"total_malloced" in c.stats("slabs"), c.stats("slabs")
    expect("cache_memlimit", c.cache_memlimit(80), True)
    expect("limit", c.stats()[b"limit_maxbytes"], 80 << 20)
    expect("cache_memlimit back", c.cache_memlimit(64), True)
    expect("verbosity", c.raw_command(b"verbosity 0"), b"OK")
    expect("flush_all later", c.flush_all(delay=100, noreply=False), True)
    expect("until then", c.get("a"), b"1")
    expect("flush_all", c.flush_all(noreply=False), True)
    expect("after it", c.get("a"), None)


def other_kinds_of_client():
    pooled = PooledClient(PLACE, max_pool_size=4, connect_timeout=10, timeout=10, tls_context=TLS)
    pooled.set("pooled", b"x", noreply=False)
    expect("a pooled client", pooled.get("pooled"), b"x")
    pooled.close()
    hashed = HashClient([PLACE], connect_timeout=10, timeout=10, tls_context=TLS)
    hashed.set_many({"h1": b"1", "h2": b"2"}, noreply=False)
    expect("a hashing client", hashed.get_many(["h1", "h2"]), {"h1": b"1", "h2": b"2"})
    hashed.close()


def main():
    for part in (storage, conditions, counters, removal, many, quiet, expiry, sizes, administration):
        c = client()
        c.flush_all(noreply=False)
        part(c)
        c.quit()
    other_kinds_of_client()
    print("all as expected")


main()
