"""python-binary-memcached as an application would use it: the binary protocol, with SASL PLAIN when told a name.

usage: binary_memcached_suite.py HOST:PORT [NAME PASSWORD]
"""

import sys
import time

import bmemcached
from bmemcached.exceptions import AuthenticationNotSupported, InvalidCredentials, MemcachedException

PLACE = sys.argv[1]
LOGIN = tuple(sys.argv[2:4])


def client(*login, **more):
    return bmemcached.Client((PLACE,), *login, socket_timeout=10, **more)


def expect(what, seen, wanted):
    assert seen == wanted, f"{what}: {seen!r:.200} instead of {wanted!r:.200}"


def gone_within(what, seconds, ask):
    """Asks until nothing is there any more."""
    deadline = time.monotonic() + seconds
    while ask() is not None:
        assert time.monotonic() < deadline, f"{what} is still there after {seconds} s"
        time.sleep(0.02)


def storage(c):
    expect("set", c.set("a", "1"), True)
    expect("get", c.get("a"), "1")
    expect("absent", c.get("absent"), None)
    expect("add on a present key", c.add("a", "2"), False)
    expect("add", c.add("b", "2"), True)
    expect("replace of nothing", c.replace("c", "3"), False)
    expect("replace", c.replace("b", "3"), True)
    expect("replaced", c.get("b"), "3")
    expect("bytes", (c.set("bytes", bytes(range(256))), c.get("bytes")), (True, bytes(range(256))))
    expect("a number, told by its flags", (c.set("n", 7), c.get("n")), (True, 7))
    expect("an object, told by its flags", (c.set("o", {"cart": ["apple"]}), c.get("o")), (True, {"cart": ["apple"]}))
    expect("empty value", (c.set("empty", ""), c.get("empty")), (True, ""))


def conditions(c):
    c.set("a", "1")
    value, unique = c.gets("a")
    expect("gets", value, "1")
    expect("cas", c.cas("a", "2", unique), True)
    expect("cas that is late", c.cas("a", "3", unique), False)
    expect("value", c.get("a"), "2")
    expect("cas of nothing", c.cas("absent", "3", unique), False)
    _, unique = c.gets("a")
    expect("delete that is late", c.delete("a", cas=unique + 1), False)
    expect("delete in time", c.delete("a", cas=unique), True)


def counters(c):
    expect("incr that makes it", c.incr("n", 5, default=10), 10)
    expect("incr", c.incr("n", 5), 15)
    expect("decr", c.decr("n", 20), 0)
    # Shorter numbers are padded where they stand.
    expect("as text", c.get("n").rstrip(), "0")
    expect("decr that makes it", c.decr("m", 1, default=3), 3)


def removal(c):
    c.set("a", "1")
    expect("delete", c.delete("a"), True)
    # The client takes a missing key for success.
    expect("delete of nothing", c.delete("a"), True)
    c.set_multi({"a": "1", "b": "2"})
    expect("delete of many", c.delete_multi(["a", "b"]), True)
    expect("nothing left", c.get_multi(["a", "b"]), {})


def many(c):
    pairs = {f"key-{number}": f"value {number}" for number in range(1000)}
    expect("set of many", c.set_multi(pairs), [])
    expect("get of many", c.get_multi(list(pairs) + ["absent"]), pairs)
    found = c.get_multi(list(pairs)[:3], get_cas=True)
    expect("get of many with numbers", {key: value for key, (value, _) in found.items()},
           dict(list(pairs.items())[:3]))


def expiry(c):
    c.set("short", "x", time=1)
    c.add("lock", "locked", time=1)
    c.set("date", "x", time=int(time.time()) + 100)
    c.incr("n", 1, default=1, time=1)
    expect("an expiry as a date", c.get("date"), "x")
    gone_within("an item of one second", 3, lambda: c.get("short"))
    gone_within("a counter of one second", 1, lambda: c.get("n"))
    gone_within("a lock of one second", 1, lambda: None if c.add("lock", "mine") else "held")


def sizes(c):
    for size in (20_000, 500_000, 1_000_000):
        value = bytes([size % 251]) * size
        expect(f"set of {size}", c.set("large", value, compress_level=0), True)
        expect(f"get of {size}", c.get("large"), value)
    key = "k" * 250
    expect("the longest key", (c.set(key, "x"), c.get(key)), (True, "x"))
    too_large = None
    try:
        too_large = c.set("large", b"x" * 1_100_000, compress_level=0)
    except MemcachedException as why:
        too_large = why.code
    # The client makes of it what its version likes, but never success.
    assert too_large in (False, 3), too_large
    expect("and it goes on", (c.set("a", "1"), c.get("a")), (True, "1"))


def administration(c):
    [stats] = c.stats().values()
    for name in ("pid", "uptime", "version", "curr_items", "cmd_get", "get_hits", "limit_maxbytes", "threads"):
        assert name in stats, f"{name} is not in {stats}"
    expect("version", stats["version"], b"1.6.18")
    [settings] = c.stats("settings").values()
    expect("item_size_max", settings["item_size_max"], b"1048576")
    c.set("a", "1")
    expect("flush_all later", c.flush_all(time=100), True)
    expect("until then", c.get("a"), "1")
    expect("flush_all", c.flush_all(), True)
    expect("after it", c.get("a"), None)


def login():
    """Who has no name, or the wrong password, is refused where names are wanted."""
    for wrong in (LOGIN[0], "wrong"), ("nobody", LOGIN[1]):
        try:
            client(*wrong).set("a", "1")
        except (InvalidCredentials, MemcachedException) as why:
            assert "auth" in str(why).lower() or "credentials" in str(why).lower(), why
        else:
            raise AssertionError(f"{wrong} was let in")
    try:
        seen = client().get("a")
    except MemcachedException as why:
        expect("status for who has no name", why.code, 0x20)
    else:
        expect("nothing for who has no name", seen, None)


def main():
    for part in (storage, conditions, counters, removal, many, expiry, sizes, administration):
        c = client(*LOGIN)
        c.flush_all()
        part(c)
        c.disconnect_all()
    if LOGIN:
        login()
    print("all as expected")


main()
