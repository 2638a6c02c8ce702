import jakarta.jms.*;
import java.util.Collections;
import java.util.Enumeration;
import java.util.Map;
import java.util.TreeMap;

/** What a message is to a JMS application, as fields of an answer; and messages made from fields of a request. */
final class Golden {
    private Golden() {}

    static String describe(Message message) throws JMSException {
        Map<String, String> fields = new TreeMap<>();
        fields.put("class", message instanceof TextMessage ? "text" : message instanceof BytesMessage ? "bytes"
            : message instanceof MapMessage ? "map" : message instanceof StreamMessage ? "stream"
            : message instanceof ObjectMessage ? "object" : "message");
        if (message instanceof TextMessage) fields.put("text", ((TextMessage) message).getText());
        if (message instanceof BytesMessage) {
            byte[] bytes = new byte[(int) ((BytesMessage) message).getBodyLength()];
            ((BytesMessage) message).readBytes(bytes);
            fields.put("hex", hex(bytes));
        }
        if (message instanceof MapMessage) {
            MapMessage map = (MapMessage) message;
            for (String name : names(map.getMapNames())) fields.put("map." + name, shown(map.getObject(name)));
        }
        for (String name : names(message.getPropertyNames())) fields.put("property." + name, shown(message.getObjectProperty(name)));
        fields.put("persistent", String.valueOf(message.getJMSDeliveryMode() == DeliveryMode.PERSISTENT));
        fields.put("priority", String.valueOf(message.getJMSPriority()));
        fields.put("type", String.valueOf(message.getJMSType()));
        fields.put("correlation", String.valueOf(message.getJMSCorrelationID()));
        fields.put("replyTo", shownDestination(message.getJMSReplyTo()));
        long expiration = message.getJMSExpiration();
        fields.put("left", String.valueOf(expiration == 0 ? 0 : expiration - System.currentTimeMillis()));
        StringBuilder answer = new StringBuilder();
        for (Map.Entry<String, String> field : fields.entrySet()) {
            answer.append('&').append(Form.escape(field.getKey())).append('=').append(Form.escape(field.getValue()));
        }
        return answer.toString();
    }

    /** `class`: text, bytes, map; the golden message's fields with it. */
    static Message make(Session session, Form request) throws JMSException {
        Message message;
        switch (request.get("class")) {
            case "bytes":
                message = session.createBytesMessage();
                ((BytesMessage) message).writeBytes(new byte[] {0, (byte) 0xff, '1', '.', '5'});
                break;
            case "map":
                message = session.createMapMessage();
                ((MapMessage) message).setInt("i", 1);
                ((MapMessage) message).setLong("l", 2);
                ((MapMessage) message).setBytes("b", new byte[] {1});
                ((MapMessage) message).setString("s", "x");
                break;
            default:
                message = session.createTextMessage("h\u00e9");
        }
        message.setIntProperty("a", 1);
        message.setBooleanProperty("b", true);
        message.setJMSType("T");
        message.setJMSCorrelationID("c1");
        return message;
    }

    private static Iterable<String> names(Enumeration<?> names) {
        java.util.List<String> list = new java.util.ArrayList<>();
        for (Object name : Collections.list(names)) list.add((String) name);
        return list;
    }

    private static String shown(Object value) {
        if (value instanceof byte[]) return "byte[] " + hex((byte[]) value);
        return value == null ? "null" : value.getClass().getSimpleName() + " " + value;
    }

    private static String shownDestination(Destination destination) throws JMSException {
        if (destination instanceof Topic) return "topic " + ((Topic) destination).getTopicName();
        if (destination instanceof Queue) return "queue " + ((Queue) destination).getQueueName();
        return "none";
    }

    private static String hex(byte[] bytes) {
        StringBuilder text = new StringBuilder();
        for (byte each : bytes) text.append(String.format("%02x", each));
        return text.toString();
    }
}
