package starcoderlsp;

import java.lang.reflect.Array;
import java.lang.reflect.Modifier;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/** Reports what the assertions of a test see. The methods `value` return their argument. */
public final class Seen {
    private static final int MAX_ELEMENTS = 20;

    private Seen() {}

    public static boolean value(int test, int index, boolean value) {
        report(test, index, "boolean", value);
        return value;
    }

    public static byte value(int test, int index, byte value) {
        report(test, index, "byte", value);
        return value;
    }

    public static short value(int test, int index, short value) {
        report(test, index, "short", value);
        return value;
    }

    public static char value(int test, int index, char value) {
        report(test, index, "char", value);
        return value;
    }

    public static int value(int test, int index, int value) {
        report(test, index, "int", value);
        return value;
    }

    public static long value(int test, int index, long value) {
        report(test, index, "long", value);
        return value;
    }

    public static float value(int test, int index, float value) {
        report(test, index, "float", value);
        return value;
    }

    public static double value(int test, int index, double value) {
        report(test, index, "double", value);
        return value;
    }

    public static <T> T value(int test, int index, T value) {
        String kind = value == null ? "null" : value.getClass().getCanonicalName();
        if (value != null && value.getClass().isArray()) {
            kind = value.getClass().getComponentType().isPrimitive() ? kind : "array";
        }
        report(test, index, kind == null ? "" : kind, value);
        return value;
    }

    /** Reports that an assertion held. */
    public static void held(int test, int index) {
        Worker.observe("\"held\", " + test + ", " + index);
    }

    /** Reports what ended an assertion. */
    public static void failed(int test, int index, Throwable error) {
        boolean isAssertion = error instanceof AssertionError;
        Throwable thrown = isAssertion && error.getCause() != null ? error.getCause() : error;
        boolean isInside = !(thrown instanceof Error) && Worker.isInside(thrown);
        String name = isAssertion && thrown == error ? "" : publicName(thrown.getClass());
        String fields = "\"failed\", " + test + ", " + index + ", " + quoted(name);
        Worker.observe(fields + ", " + isInside);
    }

    private static String publicName(Class<?> type) {
        Class<?> each = type;
        while (!Modifier.isPublic(each.getModifiers()) && each.getName().startsWith("java.")) {
            each = each.getSuperclass();
        }
        return String.valueOf(each.getCanonicalName());
    }

    private static void report(int test, int index, String kind, Object value) {
        String literal;
        try {
            literal = literal(value);
        } catch (RuntimeException error) {
            literal = null; // a collection that changes, or does not work
        }
        String text = literal == null ? "null" : quoted(literal);
        Worker.observe("\"value\", " + test + ", " + index + ", " + quoted(kind) + ", " + text);
    }

    /** Returns an expression of a value, or null if there is none. */
    private static String literal(Object value) {
        if (value == null || value instanceof Boolean || value instanceof Integer) {
            return String.valueOf(value);
        }
        if (value instanceof Long) {
            return value + "L";
        }
        if (value instanceof Byte || value instanceof Short) {
            return "(" + (value instanceof Byte ? "byte" : "short") + ") " + value;
        }
        if (value instanceof Float || value instanceof Double) {
            return number((Number) value);
        }
        if (value instanceof Character) {
            return "'" + escaped((char) value, '\'') + "'";
        }
        if (value instanceof String) {
            StringBuilder text = new StringBuilder();
            ((String) value).chars().forEach(each -> text.append(escaped((char) each, '"')));
            return "\"" + text + "\"";
        }
        if (value instanceof Enum) {
            String type = ((Enum<?>) value).getDeclaringClass().getCanonicalName();
            return type == null ? null : type + "." + ((Enum<?>) value).name();
        }
        if (value.getClass().isArray()) {
            return array(value);
        }
        if (value instanceof Optional) {
            Optional<?> optional = (Optional<?>) value;
            return optional.isPresent()
                    ? call("Optional.of", List.of(optional.get())) : "Optional.empty()";
        }
        return collection(value);
    }

    private static String number(Number value) {
        String type = value instanceof Float ? "Float" : "Double";
        double number = value.doubleValue();
        if (Double.isNaN(number)) {
            return type + ".NaN";
        }
        if (Double.isInfinite(number)) {
            return type + (number > 0 ? ".POSITIVE_INFINITY" : ".NEGATIVE_INFINITY");
        }
        return value + (value instanceof Float ? "f" : "");
    }

    private static String array(Object value) {
        Class<?> type = value.getClass();
        String braces = braces(value);
        String name = type.getCanonicalName();
        return braces == null || name == null ? null : "new " + name + " " + braces;
    }

    private static String braces(Object array) {
        List<String> elements = new ArrayList<>();
        if (Array.getLength(array) > MAX_ELEMENTS) {
            return null;
        }
        for (int i = 0; i < Array.getLength(array); i++) {
            Object element = Array.get(array, i);
            boolean isArray = element != null && element.getClass().isArray();
            String text = isArray ? braces(element) : literal(element);
            if (text == null) {
                return null;
            }
            elements.add(text);
        }
        return "{" + String.join(", ", elements) + "}";
    }

    private static String collection(Object value) {
        if (!value.getClass().getName().startsWith("java.util.")) {
            return null; // it may be equal only to itself
        }
        if (value instanceof List) {
            return call("Arrays.asList", (List<?>) value);
        }
        if (value instanceof Set) {
            return call("Set.of", sorted((Set<?>) value));
        }
        if (value instanceof Map && ((Map<?, ?>) value).size() <= MAX_ELEMENTS / 2) {
            List<Object> pairs = new ArrayList<>();
            for (Object key : sorted(((Map<?, ?>) value).keySet())) {
                pairs.add(key);
                pairs.add(((Map<?, ?>) value).get(key));
            }
            return call("Map.of", pairs);
        }
        return null;
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private static List<?> sorted(Collection<?> values) {
        List<Object> result = new ArrayList<>(values);
        Collections.sort((List) result);
        return result;
    }

    private static String call(String function, List<?> values) {
        if (values.size() > MAX_ELEMENTS) {
            return null;
        }
        List<String> elements = new ArrayList<>();
        for (Object each : values) {
            String text = literal(each);
            if (text == null || each == null && !function.equals("Arrays.asList")) {
                return null;
            }
            elements.add(text);
        }
        boolean isNull = elements.equals(List.of("null")); // it would be an array
        return isNull ? null : function + "(" + String.join(", ", elements) + ")";
    }

    private static String escaped(char each, char quote) {
        int index = "\n\t\r\b\f\\".indexOf(each);
        if (index >= 0) {
            return "\\" + "ntrbf\\".charAt(index);
        }
        if (each == quote) {
            return "\\" + each;
        }
        boolean isShown = Character.isLetterOrDigit(each) || each >= ' ' && each < 127;
        return isShown || Character.isSurrogate(each)
                ? String.valueOf(each) : String.format("\\u%04x", (int) each);
    }

    /** Returns a string of JSON. */
    static String quoted(String text) {
        StringBuilder result = new StringBuilder("\"");
        for (char each : text.toCharArray()) {
            boolean isPlain = each >= ' ' && each < 127 && each != '"' && each != '\\';
            result.append(isPlain ? String.valueOf(each) : String.format("\\u%04x", (int) each));
        }
        return result.append('"').toString();
    }
}
