import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Lines to and from the harness: application/x-www-form-urlencoded, because every language reads it without a library. */
final class Form {
    private final Map<String, List<String>> values = new HashMap<>();

    static Form parse(String line) {
        Form form = new Form();
        for (String pair : line.split("&")) {
            int at = pair.indexOf('=');
            if (at < 0) continue;
            String value = URLDecoder.decode(pair.substring(at + 1), StandardCharsets.UTF_8);
            form.values.computeIfAbsent(pair.substring(0, at), key -> new ArrayList<>()).add(value);
        }
        return form;
    }

    static String escape(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8);
    }

    String get(String key) {
        List<String> all = values.get(key);
        return all == null ? "" : all.get(0);
    }

    int number(String key) {
        return Integer.parseInt(get(key));
    }

    List<String> all(String key) {
        return values.getOrDefault(key, List.of());
    }
}
