import java.io.*;
import java.util.*;

/** Prints `name hex` lines: what the JDK writes. `java Vectors.java > vectors.txt` makes the file beside this one. */
public class Vectors {
    static class Row implements Serializable { private static final long serialVersionUID = 7L; int n = 5; String text = "t"; Row next; long[] marks = {1, -1}; }
    static class Derived extends Row { private static final long serialVersionUID = 8L; boolean on = true;
        private void writeObject(ObjectOutputStream o) throws IOException { o.defaultWriteObject(); o.writeInt(77); o.writeObject("extra"); o.writeUTF("tail"); }
        private void readObject(ObjectInputStream i) throws IOException, ClassNotFoundException { i.defaultReadObject(); i.readInt(); i.readObject(); i.readUTF(); } }
    public static class Inherits extends Row implements Externalizable { public Inherits() {} public void writeExternal(ObjectOutput o) throws IOException { o.writeInt(9); } public void readExternal(ObjectInput i) throws IOException { i.readInt(); } }
    public static class Outside implements Externalizable { public Outside() {} public void writeExternal(ObjectOutput o) throws IOException { o.writeInt(9); o.writeObject("in"); } public void readExternal(ObjectInput i) throws IOException, ClassNotFoundException { i.readInt(); i.readObject(); } }
    enum Colour { RED, BLUE { } }
    interface Body { void write(ObjectOutputStream o) throws Exception; }
    static void vector(String name, Body body) throws Exception {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        ObjectOutputStream o = new ObjectOutputStream(bytes);
        body.write(o); o.close();
        StringBuilder hex = new StringBuilder();
        for (byte b : bytes.toByteArray()) hex.append(String.format("%02x", b));
        System.out.println(name + " " + hex);
    }
    static void one(String name, Object value) throws Exception { vector(name, o -> o.writeObject(value)); }
    static byte[] pattern(int n) { byte[] b = new byte[n]; for (int i = 0; i < n; i++) b[i] = (byte) (i * 7); return b; }
    public static void main(String[] args) throws Exception {
        one("null", null);
        one("string_empty", "");
        one("string_ascii", "MeXP");
        one("string_modified_utf8", "h\u00e9llo \u4e16\u754c \u0000 \ud83d\ude00");
        one("string_lone_surrogate", "a\ud83db");
        one("integer", 1800); one("integer_min", Integer.MIN_VALUE);
        one("long", 123456789012L); one("boolean_true", true); one("boolean_false", false);
        one("double", 3.25); one("double_nan", Double.NaN); one("float", -0.5f);
        one("short", (short) -2); one("byte", (byte) -3); one("character", '\u20ac');
        one("date", new Date(1795389394716L));
        one("bytes", pattern(300)); one("bytes_empty", new byte[0]);
        one("array_int", new int[]{1, -2, 3}); one("array_long", new long[]{1, Long.MIN_VALUE});
        one("array_short", new short[]{1, -2}); one("array_char", new char[]{'a', '\u4e16'});
        one("array_boolean", new boolean[]{true, false}); one("array_float", new float[]{1.5f}); one("array_double", new double[]{-1.5, 2});
        one("array_string", new String[]{"a", null, "a"}); one("array_object", new Object[]{"a", 1, null, new byte[]{1}});
        one("array_nested", new int[][]{{1}, {2, 3}, {}}); one("array_integer", new Integer[]{1, 1000, 1});
        one("array_list_empty", new ArrayList<>());
        one("array_list", new ArrayList<>(List.of("a", 1, 2L, true, 2.5, "a", 1)));
        one("array_list_nested", new ArrayList<>(List.of(new ArrayList<>(List.of("x")), new ArrayList<>(List.of(new ArrayList<>())))));
        one("linked_list", new LinkedList<>(List.of("a", 1)));
        Map<Object, Object> m = new HashMap<>(); one("hash_map_empty", m);
        for (int i = 0; i < 30; i++) m.put("key" + i, i * 100); m.put(7, "seven"); m.put(5_000_000_000L, true); m.put(null, null); m.put(2.5, 'c'); m.put(false, "no"); m.put("\u4e16", (short) 3); m.put((byte) -3, 1.5f); m.put('x', (short) -9); m.put((short) -9, 0); m.put(1.5f, 0); m.put(new Date(1795389394716L), 0);
        one("hash_map", m);
        Map<Object, Object> l = new LinkedHashMap<>(); for (int i = 0; i < 13; i++) l.put("k" + i, i);
        one("linked_hash_map", l);
        one("hash_set", new HashSet<>(List.of("one", "two", "three", 4, 5L)));
        Set<Object> hs = new HashSet<>(); for (int i = 0; i < 20; i++) hs.add("v" + i); one("hash_set_grown", hs); one("hash_set_empty", new HashSet<>());
        Set<Object> ls = new LinkedHashSet<>(); ls.add("z"); ls.add("a"); ls.add(3); one("linked_hash_set", ls);
        one("tree_map", new TreeMap<>(Map.of("b", 2, "a", 1))); one("tree_map_reverse", new TreeMap<>(Comparator.reverseOrder()));
        one("tree_set", new TreeSet<>(List.of("b", "a")));
        List<Object> cycle = new ArrayList<>(); cycle.add(cycle); one("cycle", cycle);
        List<Object> shared = new ArrayList<>(List.of("s")); one("shared", new ArrayList<>(List.of(shared, shared)));
        Derived d = new Derived(); d.next = new Row(); one("objects", new Object[]{d, d.next, new Derived()});
        one("externalizable", new Outside()); one("externalizable_inherits", new Object[]{new Inherits(), new Inherits(), "after"}); one("enum", new Object[]{Colour.RED, Colour.BLUE, Colour.RED}); one("class", String.class);
        one("others", new ArrayList<>(List.of(new java.math.BigDecimal("12.50"), new java.util.UUID(1, 2), java.time.LocalDate.of(2026, 1, 2), Arrays.asList(1, 2), Collections.unmodifiableList(new ArrayList<>(List.of("u"))), Locale.FRANCE, new Vector<>(List.of("v")), java.util.Optional.class)));
        one("immutable", List.of(List.of(1, 2, 3), Map.of("a", 1)));
        vector("block_data", o -> { o.writeInt(-5); o.writeUTF("name"); o.writeObject("o"); o.writeBoolean(true); o.writeLong(7); o.writeDouble(0.5); o.writeShort(-1); o.writeByte(200); o.writeFloat(2f); o.writeChar('c'); });
        vector("block_data_long", o -> { for (int i = 0; i < 700; i++) o.writeInt(i); o.writeUTF("\u00e9".repeat(900)); o.write(pattern(3000)); });
        vector("block_data_255_256", o -> { o.write(pattern(255)); o.writeObject(null); o.write(pattern(256)); });
        vector("attributes", o -> { o.writeObject(2); o.writeObject("Blog"); o.writeObject("MeXP"); o.writeObject("n"); o.writeObject(2); });
        vector("reset", o -> { o.writeObject("a"); o.reset(); o.writeObject("a"); o.writeInt(3); });
    }
}
