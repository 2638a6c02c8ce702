import jakarta.jms.*;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/** Sends and receives on request; the line protocol is described in interop/README.md. */
final class Worker {
    private final Broker broker;
    private final Map<String, MessageConsumer> consumers = new HashMap<>();
    private final Map<String, Connection> connections = new HashMap<>();
    private Message last;

    Worker(Broker broker) {
        this.broker = broker;
    }

    void run() throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            Form request = Form.parse(line);
            String answer = "id=" + request.get("id");
            try {
                answer += "&ok=1" + answer(request);
            } catch (Exception failure) {
                answer += "&ok=0&error=" + Form.escape(failure.toString());
            }
            System.out.println(answer);
            System.out.flush();
        }
    }

    private String answer(Form request) throws JMSException {
        switch (request.get("op")) {
            case "send":
                return send(request);
            case "open":
                return open(request);
            case "take":
                return take(request);
            case "describe":
                return describe(request);
            case "produce":
                return produce(request);
            case "reply":
                return reply(request);
            case "close":
                consumers.remove(request.get("handle")).close();
                connections.remove(request.get("handle")).close();
                return "";
            default:
                throw new IllegalArgumentException("no operation " + request.get("op"));
        }
    }

    private static Destination destination(Session session, Form request) throws JMSException {
        String address = request.get("address");
        return request.get("kind").equals("topic") ? session.createTopic(address) : session.createQueue(address);
    }

    private String send(Form request) throws JMSException {
        Connection connection = broker.connect();
        Session session = connection.createSession();
        MessageProducer producer = session.createProducer(destination(session, request));
        for (String body : request.all("body")) {
            TextMessage message = session.createTextMessage(body);
            message.setStringProperty("origin", "qpid-jms");
            producer.send(message);
        }
        connection.close();
        return "";
    }

    private String open(Form request) throws JMSException {
        String handle = request.get("handle");
        Connection connection = broker.connect();
        Session session = connection.createSession();
        Destination destination = destination(session, request);
        String group = request.get("group");
        MessageConsumer consumer = group.isEmpty()
            ? session.createConsumer(destination)
            : session.createSharedConsumer((Topic) destination, group);
        connections.put(handle, connection);
        consumers.put(handle, consumer);
        return "";
    }

    private String take(Form request) throws JMSException {
        MessageConsumer consumer = consumers.get(request.get("handle"));
        StringBuilder bodies = new StringBuilder();
        for (int left = request.number("count"); left > 0; left--) {
            Message message = consumer.receive(request.number("limit"));
            if (message == null) break;
            bodies.append("&body=").append(Form.escape(textOf(message)));
        }
        return bodies.toString();
    }

    /** One message and all that JMS says of it. */
    private String describe(Form request) throws JMSException {
        Message message = consumers.get(request.get("handle")).receive(request.number("limit"));
        if (message == null) throw new JMSException("no message came");
        last = message;
        return Golden.describe(message);
    }

    /** The golden message, with a time to live of 5 s and priority 7; `reply` names a topic for the answer. */
    private String produce(Form request) throws JMSException {
        Connection connection = broker.connect();
        Session session = connection.createSession();
        MessageProducer producer = session.createProducer(destination(session, request));
        Message message = Golden.make(session, request);
        if (!request.get("reply").isEmpty()) message.setJMSReplyTo(session.createTopic(request.get("reply")));
        producer.send(message, DeliveryMode.PERSISTENT, 7, 5000);
        connection.close();
        return "";
    }

    /** Answers the message described last: to its JMSReplyTo, with its JMSCorrelationID. */
    private String reply(Form request) throws JMSException {
        Connection connection = broker.connect();
        Session session = connection.createSession();
        Message answer = session.createTextMessage(request.get("text"));
        answer.setJMSCorrelationID(last.getJMSCorrelationID());
        session.createProducer(last.getJMSReplyTo()).send(answer);
        connection.close();
        return "";
    }

    private static String textOf(Message message) throws JMSException {
        if (message instanceof TextMessage) return ((TextMessage) message).getText();
        if (message instanceof BytesMessage) {
            byte[] bytes = new byte[(int) ((BytesMessage) message).getBodyLength()];
            ((BytesMessage) message).readBytes(bytes);
            return new String(bytes, StandardCharsets.UTF_8);
        }
        return message.getClass().getSimpleName();
    }
}
