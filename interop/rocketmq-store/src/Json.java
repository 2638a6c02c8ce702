import java.util.LinkedHashMap;
import java.util.Map;

/** One flat JSON object in the making. */
final class Json {
    private final Map<String, Object> fields = new LinkedHashMap<>();

    static Json of(String kind) {
        return new Json().with("kind", kind);
    }

    Json with(String name, Object value) {
        fields.put(name, value);
        return this;
    }

    void print() {
        StringBuilder out = new StringBuilder("{");
        for (Map.Entry<String, Object> field : fields.entrySet()) {
            if (out.length() > 1) out.append(',');
            text(out, field.getKey());
            out.append(':');
            Object value = field.getValue();
            if (value instanceof Number || value instanceof Boolean) out.append(value);
            else if (value == null) out.append("null");
            else if (value instanceof Map) map(out, (Map<?, ?>) value);
            else text(out, value.toString());
        }
        System.out.println(out.append('}'));
    }

    private static void map(StringBuilder out, Map<?, ?> values) {
        out.append('{');
        String separator = "";
        for (Map.Entry<?, ?> entry : values.entrySet()) {
            out.append(separator);
            text(out, entry.getKey().toString());
            out.append(':');
            text(out, entry.getValue().toString());
            separator = ",";
        }
        out.append('}');
    }

    private static void text(StringBuilder out, String text) {
        out.append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') out.append('\\').append(c);
            else if (c < 0x20 || c > 0x7e) out.append(String.format("\\u%04x", (int) c));
            else out.append(c);
        }
        out.append('"');
    }
}
