import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import net.spy.memcached.AddrUtil;
import net.spy.memcached.CASResponse;
import net.spy.memcached.CASValue;
import net.spy.memcached.ConnectionFactoryBuilder;
import net.spy.memcached.ConnectionFactoryBuilder.Protocol;
import net.spy.memcached.MemcachedClient;
import net.spy.memcached.auth.AuthDescriptor;
import net.spy.memcached.auth.PlainCallbackHandler;

/**
 * spymemcached as a session manager uses it, and every other command that it has.
 *
 * <p>usage: java -cp spymemcached.jar Spymemcached.java HOST:PORT text|binary [NAME PASSWORD]
 */
public class Spymemcached {
  private final MemcachedClient client;
  private final boolean binary;

  private Spymemcached(MemcachedClient client, boolean binary) {
    this.client = client;
    this.binary = binary;
  }

  public static void main(String[] arguments) throws Exception {
    boolean binary = arguments[1].equals("binary");
    ConnectionFactoryBuilder builder =
        new ConnectionFactoryBuilder()
            .setProtocol(binary ? Protocol.BINARY : Protocol.TEXT)
            .setOpTimeout(10_000)
            .setMaxReconnectDelay(1);
    if (arguments.length > 2) {
      PlainCallbackHandler login = new PlainCallbackHandler(arguments[2], arguments[3]);
      builder.setAuthDescriptor(new AuthDescriptor(new String[] {"PLAIN"}, login));
    }
    MemcachedClient client = new MemcachedClient(builder.build(), AddrUtil.getAddresses(arguments[0]));
    Spymemcached suite = new Spymemcached(client, binary);
    try {
      suite.all();
      System.out.println("all as expected");
    } finally {
      // Its thread would keep this process alive.
      client.shutdown(5, TimeUnit.SECONDS);
    }
  }

  private void all() throws Exception {
    storage();
    conditions();
    counters();
    many();
    sizes();
    sessions();
    expiry();
    administration();
  }

  private void storage() throws Exception {
    yes("flush", client.flush());
    yes("set", client.set("a", 0, "1"));
    expect("get", client.get("a"), "1");
    expect("absent", client.get("absent"), null);
    no("add on a present key", client.add("a", 0, "2"));
    yes("add", client.add("b", 0, "2"));
    no("replace of nothing", client.replace("c", 0, "3"));
    yes("replace", client.replace("b", 0, "3"));
    yes("append", client.append("b", "4"));
    yes("prepend", client.prepend("b", "2"));
    expect("after all", client.get("b"), "234");
    no("append to nothing", client.append("c", "4"));
    yes("delete", client.delete("b"));
    no("delete of nothing", client.delete("b"));
    yes("a number, told by its flags", client.set("n", 0, 7L));
    expect("the number", client.get("n"), 7L);
    // Long strings are compressed, which the flags tell as well.
    String cart = "apple ".repeat(10_000);
    yes("an object", client.set("o", 0, new ArrayList<>(List.of(cart))));
    expect("the object", client.get("o"), List.of(cart));
  }

  private void conditions() throws Exception {
    yes("set", client.set("a", 0, "1"));
    CASValue<Object> found = client.gets("a");
    expect("gets", found.getValue(), "1");
    expect("cas", client.cas("a", found.getCas(), "2"), CASResponse.OK);
    expect("cas that is late", client.cas("a", found.getCas(), "3"), CASResponse.EXISTS);
    expect("cas of nothing", client.cas("absent", found.getCas(), "3"), CASResponse.NOT_FOUND);
    expect("value", client.get("a"), "2");
    if (binary) {
      no("delete that is late", client.delete("a", found.getCas()));
      yes("delete in time", client.delete("a", client.gets("a").getCas()));
    }
  }

  private void counters() throws Exception {
    expect("incr of nothing", client.incr("count", 1), -1L);
    expect("incr that makes it", client.incr("count", 1, 40L), 40L);
    expect("incr", client.incr("count", 2), 42L);
    expect("decr", client.decr("count", 50), 0L);
    expect("decr that makes it", client.decr("other", 1, 3L), 3L);
    yes("set", client.set("text", 0, "x"));
    fails("incr of text", client.asyncIncr("text", 1));
  }

  private void many() throws Exception {
    Map<String, Object> pairs = new HashMap<>();
    List<Future<Boolean>> sets = new ArrayList<>();
    for (int number = 0; number < 1000; number++) {
      pairs.put("key-" + number, "value " + number);
      sets.add(client.set("key-" + number, 0, "value " + number));
    }
    for (Future<Boolean> set : sets) {
      yes("pipelined set", set);
    }
    List<String> keys = new ArrayList<>(pairs.keySet());
    keys.add("absent");
    expect("get of many", client.getBulk(keys), pairs);
    // The client merges what is queued: one line of many keys in text, getkq and noop in binary.
    List<Future<Object>> gets = new ArrayList<>();
    for (int number = 0; number < 1000; number++) {
      gets.add(client.asyncGet("key-" + number));
    }
    for (int number = 0; number < 1000; number++) {
      expect("pipelined get", gets.get(number).get(10, TimeUnit.SECONDS), "value " + number);
    }
  }

  private void sizes() throws Exception {
    for (int size : new int[] {20_000, 500_000, 1_000_000}) {
      byte[] value = new byte[size];
      // What cannot be compressed, and the same each time.
      new java.util.Random(size).nextBytes(value);
      yes("set of " + size, client.set("large", 0, value));
      expect("get of " + size, Arrays.equals((byte[]) client.get("large"), value), true);
    }
    String key = "k".repeat(250);
    yes("the longest key", client.set(key, 0, "x"));
    expect("the longest key", client.get(key), "x");
  }

  /** The operations of memcached-session-manager: get, set, add, delete, one key each. */
  private void sessions() throws Exception {
    String id = "0123456789ABCDEF0123456789ABCDEF-n1.WEB1";
    byte[] session = new byte[4000];
    new java.util.Random(1).nextBytes(session);
    yes("the session", client.set(id, 1800, session));
    yes("its validity", client.set("validity:" + id, 1800, new byte[20]));
    no("a ping", client.add(id, 5, new byte[] {1}));
    expect("and nothing has changed", Arrays.equals((byte[]) client.get(id), session), true);
    yes("the lock", client.add("lock:" + id, 5, "locked"));
    no("the lock again", client.add("lock:" + id, 5, "locked"));
    yes("unlocked", client.delete("lock:" + id));
    yes("the lock once more", client.add("lock:" + id, 5, "locked"));
    int in31Days = (int) (System.currentTimeMillis() / 1000) + 31 * 24 * 3600;
    yes("a long session", client.set("bak:" + id, in31Days, session));
    expect("it is there", client.get("bak:" + id) != null, true);
    expect("a ping of the node", client.get("ping-n1"), null);
    for (String key : List.of(id, "validity:" + id, "lock:" + id, "bak:" + id)) {
      yes("logout", client.delete(key));
    }
  }

  private void expiry() throws Exception {
    yes("set", client.set("short", 1, "x"));
    yes("add", client.add("lock:x", 1, "locked"));
    yes("set", client.set("touched", 1000, "x"));
    yes("touch", client.touch("touched", 1));
    no("touch of nothing", client.touch("absent", 1));
    if (binary) {
      yes("set", client.set("got", 1000, "x"));
      expect("get and touch", client.getAndTouch("got", 1).getValue(), "x");
      expect("get and touch of nothing", client.getAndTouch("absent", 1), null);
      goneWithin("an item that was got and touched", 3, "got");
    }
    goneWithin("an item of one second", 3, "short");
    goneWithin("an item that was touched", 3, "touched");
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(1);
    while (!client.add("lock:x", 1, "locked").get(10, TimeUnit.SECONDS)) {
      expect("a lock of one second is still held", System.nanoTime() < deadline, true);
      Thread.sleep(20);
    }
  }

  private void administration() throws Exception {
    expect("version", List.copyOf(client.getVersions().values()), List.of("1.6.18"));
    Map<String, String> stats = client.getStats().values().iterator().next();
    for (String name : List.of("pid", "uptime", "curr_items", "cmd_get", "get_hits", "limit_maxbytes")) {
      expect(name + " in " + stats, stats.containsKey(name), true);
    }
    Map<String, String> settings = client.getStats("settings").values().iterator().next();
    expect("item_size_max", settings.get("item_size_max"), "1048576");
    yes("flush later", client.flush(100));
    yes("flush", client.flush());
    expect("after it", client.get("key-1"), null);
  }

  private void goneWithin(String what, int seconds, String key) throws Exception {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
    while (client.get(key) != null) {
      expect(what + " is still there", System.nanoTime() < deadline, true);
      Thread.sleep(20);
    }
  }

  private static void yes(String what, Future<Boolean> answer) throws Exception {
    expect(what, answer.get(10, TimeUnit.SECONDS), true);
  }

  private static void no(String what, Future<Boolean> answer) throws Exception {
    expect(what, answer.get(10, TimeUnit.SECONDS), false);
  }

  private static void fails(String what, Future<Long> answer) throws Exception {
    try {
      Long seen = answer.get(10, TimeUnit.SECONDS);
      // The text protocol's answer is an error, the binary one's a status that the client makes -1.
      expect(what, seen, -1L);
    } catch (ExecutionException why) {
      expect(what + ": " + why, why.toString().contains("non-numeric"), true);
    }
  }

  private static void expect(String what, Object seen, Object wanted) {
    if (!Objects.equals(seen, wanted)) {
      throw new AssertionError(what + ": " + seen + " instead of " + wanted);
    }
  }
}
