import jakarta.jms.*;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/** What is in a message: the five body types, headers, properties, size; time to live, delay, priority, selectors. */
final class MessageChecks {
    static void addTo(Map<String, Check> checks) {
        checks.put("bodies", broker -> {
            Session session = broker.connect().createSession();
            Queue queue = session.createQueue("jms.bodies");
            MessageProducer producer = session.createProducer(queue);
            MessageConsumer consumer = session.createConsumer(queue);

            producer.send(session.createMessage());
            producer.send(session.createTextMessage());
            producer.send(session.createTextMessage("ünïcødé ✓"));
            Message plain = consumer.receive(Expect.LONG);
            Expect.truly(!(plain instanceof TextMessage) && !(plain instanceof BytesMessage), "plain message stays plain");
            Expect.equal(((TextMessage) consumer.receive(Expect.LONG)).getText(), null, "null text");
            Expect.equal(((TextMessage) consumer.receive(Expect.LONG)).getText(), "ünïcødé ✓", "text");

            BytesMessage bytes = session.createBytesMessage();
            byte[] data = {0, 1, -1, 127, -128};
            bytes.writeBytes(data);
            bytes.writeUTF("utf");
            bytes.writeDouble(1.5);
            producer.send(bytes);
            BytesMessage gotBytes = (BytesMessage) consumer.receive(Expect.LONG);
            byte[] back = new byte[data.length];
            gotBytes.readBytes(back);
            Expect.truly(Arrays.equals(data, back), "bytes");
            Expect.equal(gotBytes.readUTF(), "utf", "UTF");
            Expect.equal(gotBytes.readDouble(), 1.5, "double");

            MapMessage map = session.createMapMessage();
            map.setBoolean("z", true);
            map.setByte("b", (byte) 1);
            map.setShort("s", (short) 2);
            map.setInt("i", 3);
            map.setLong("l", 4L);
            map.setFloat("f", 5.5f);
            map.setDouble("d", 6.5);
            map.setChar("c", 'c');
            map.setString("text", "seven");
            map.setBytes("bytes", data);
            producer.send(map);
            MapMessage gotMap = (MapMessage) consumer.receive(Expect.LONG);
            Expect.equal(gotMap.getObject("z"), true, "map boolean");
            Expect.equal(gotMap.getObject("b"), (byte) 1, "map byte");
            Expect.equal(gotMap.getObject("s"), (short) 2, "map short");
            Expect.equal(gotMap.getObject("i"), 3, "map int");
            Expect.equal(gotMap.getObject("l"), 4L, "map long");
            Expect.equal(gotMap.getObject("f"), 5.5f, "map float");
            Expect.equal(gotMap.getObject("d"), 6.5, "map double");
            Expect.equal(gotMap.getObject("c"), 'c', "map char");
            Expect.equal(gotMap.getObject("text"), "seven", "map string");
            Expect.truly(Arrays.equals(gotMap.getBytes("bytes"), data), "map bytes");

            StreamMessage stream = session.createStreamMessage();
            stream.writeInt(1);
            stream.writeString("two");
            stream.writeBytes(data);
            stream.writeBoolean(true);
            producer.send(stream);
            StreamMessage gotStream = (StreamMessage) consumer.receive(Expect.LONG);
            Expect.equal(gotStream.readInt(), 1, "stream int");
            Expect.equal(gotStream.readString(), "two", "stream string");
            byte[] part = new byte[16];
            Expect.equal(gotStream.readBytes(part), data.length, "stream bytes");
            Expect.equal(gotStream.readBoolean(), true, "stream boolean");

            producer.send(session.createObjectMessage(new ArrayList<>(List.of("a", 1, 2L))));
            ObjectMessage object = (ObjectMessage) consumer.receive(Expect.LONG);
            Expect.equal(object.getObject(), List.of("a", 1, 2L), "object");
        });

        checks.put("properties", broker -> {
            Session session = broker.connect().createSession();
            Queue queue = session.createQueue("jms.properties");
            Queue replyTo = session.createQueue("jms.properties.reply");
            MessageProducer producer = session.createProducer(queue);
            TextMessage message = session.createTextMessage("p");
            message.setBooleanProperty("z", true);
            message.setByteProperty("b", (byte) 1);
            message.setShortProperty("s", (short) 2);
            message.setIntProperty("i", 3);
            message.setLongProperty("l", Long.MAX_VALUE);
            message.setFloatProperty("f", 5.5f);
            message.setDoubleProperty("d", 6.5);
            message.setStringProperty("text", "ünïcødé");
            message.setStringProperty("JMSXGroupID", "group");
            message.setIntProperty("JMSXGroupSeq", 7);
            message.setJMSCorrelationID("correlation");
            message.setJMSReplyTo(replyTo);
            message.setJMSType("kind");
            producer.send(message, DeliveryMode.PERSISTENT, 6, 0);
            MessageConsumer consumer = session.createConsumer(queue);
            Message got = consumer.receive(Expect.LONG);
            Expect.equal(got.getObjectProperty("z"), true, "boolean");
            Expect.equal(got.getObjectProperty("b"), (byte) 1, "byte");
            Expect.equal(got.getObjectProperty("s"), (short) 2, "short");
            Expect.equal(got.getObjectProperty("i"), 3, "int");
            Expect.equal(got.getObjectProperty("l"), Long.MAX_VALUE, "long");
            Expect.equal(got.getObjectProperty("f"), 5.5f, "float");
            Expect.equal(got.getObjectProperty("d"), 6.5, "double");
            Expect.equal(got.getStringProperty("text"), "ünïcødé", "string");
            Expect.equal(got.getStringProperty("JMSXGroupID"), "group", "JMSXGroupID");
            Expect.equal(got.getIntProperty("JMSXGroupSeq"), 7, "JMSXGroupSeq");
            Expect.equal(got.getJMSCorrelationID(), "correlation", "JMSCorrelationID");
            Expect.equal(got.getJMSReplyTo(), replyTo, "JMSReplyTo");
            Expect.equal(got.getJMSType(), "kind", "JMSType");
            Expect.equal(got.getJMSMessageID(), message.getJMSMessageID(), "JMSMessageID");
            Expect.equal(got.getJMSTimestamp(), message.getJMSTimestamp(), "JMSTimestamp");
            Expect.equal(got.getJMSPriority(), 6, "JMSPriority");
            Expect.equal(got.getJMSDeliveryMode(), DeliveryMode.PERSISTENT, "JMSDeliveryMode");
            Expect.equal(got.getJMSExpiration(), 0L, "JMSExpiration");
            Expect.equal(got.getJMSRedelivered(), false, "JMSRedelivered");
            Expect.equal(got.getIntProperty("JMSXDeliveryCount"), 1, "JMSXDeliveryCount");
            producer.send(session.createTextMessage("np"), DeliveryMode.NON_PERSISTENT, 4, 60_000);
            Message brief = consumer.receive(Expect.LONG);
            Expect.equal(brief.getJMSDeliveryMode(), DeliveryMode.NON_PERSISTENT, "non-persistent");
            Expect.truly(brief.getJMSExpiration() > System.currentTimeMillis(), "JMSExpiration lies ahead");
        });

        checks.put("large", broker -> {
            Session session = broker.connect().createSession();
            Queue queue = session.createQueue("jms.large");
            byte[] body = new byte[8 * 1024 * 1024];
            for (int at = 0; at < body.length; at++) body[at] = (byte) (at * 31 + at / 256);
            BytesMessage message = session.createBytesMessage();
            message.writeBytes(body);
            session.createProducer(queue).send(message);
            BytesMessage got = (BytesMessage) session.createConsumer(queue).receive(20_000);
            Expect.equal((int) got.getBodyLength(), body.length, "length");
            byte[] back = new byte[body.length];
            got.readBytes(back);
            Expect.truly(Arrays.equals(body, back), "8 MiB came back as sent");
        });

        checks.put("ttl", broker -> {
            Session session = broker.connect().createSession();
            Queue queue = session.createQueue("jms.ttl");
            MessageProducer producer = session.createProducer(queue);
            producer.setTimeToLive(200);
            Expect.send(session, producer, "short");
            producer.setTimeToLive(0);
            Expect.send(session, producer, "long");
            Thread.sleep(500);
            MessageConsumer consumer = session.createConsumer(queue);
            Expect.texts(consumer, "long");
            Expect.nothing(consumer);
        });

        checks.put("delay", broker -> {
            Session session = broker.connect().createSession();
            Queue queue = session.createQueue("jms.delay");
            MessageProducer producer = session.createProducer(queue);
            MessageConsumer consumer = session.createConsumer(queue);
            producer.setDeliveryDelay(1500);
            long began = System.currentTimeMillis();
            Expect.send(session, producer, "later");
            producer.setDeliveryDelay(0);
            Expect.send(session, producer, "now");
            Expect.texts(consumer, "now");
            Expect.truly(consumer.receive(400) == null, "not delivered too early");
            Message later = Expect.texts(consumer, "later");
            long waited = System.currentTimeMillis() - began;
            Expect.truly(waited >= 1450, "delivered after " + waited + " ms");
            Expect.truly(later.getJMSDeliveryTime() >= began + 1400, "JMSDeliveryTime");
        });

        checks.put("priority", broker -> {
            Session session = broker.connect().createSession();
            Queue queue = session.createQueue("jms.priority");
            MessageProducer producer = session.createProducer(queue);
            for (int priority : new int[] {1, 4, 9, 4, 0}) {
                producer.setPriority(priority);
                Expect.send(session, producer, "p" + priority);
            }
            Expect.texts(session.createConsumer(queue), "p9", "p4", "p4", "p1", "p0");
        });

        checks.put("selector", broker -> {
            Session session = broker.connect().createSession();
            Queue queue = session.createQueue("jms.selector");
            MessageProducer producer = session.createProducer(queue);
            String[] colors = {"red", "blue", "red", "green"};
            for (int index = 0; index < colors.length; index++) {
                TextMessage message = session.createTextMessage("m" + index);
                message.setStringProperty("color", colors[index]);
                message.setIntProperty("size", index);
                message.setJMSType(index % 2 == 0 ? "even" : "odd");
                producer.send(message);
            }
            String selector = "color IN ('red', 'green') AND size BETWEEN 1 AND 3 AND color LIKE '%e%'";
            MessageConsumer some = session.createConsumer(queue, selector);
            Expect.texts(some, "m2", "m3");
            Expect.nothing(some);
            some.close();
            Expect.equal(QueueChecks.browsed(session.createBrowser(queue, "JMSType = 'odd'")), List.of("m1"), "browsed");
            MessageConsumer rest = session.createConsumer(queue, "missing IS NULL AND NOT (size > 100)");
            Expect.texts(rest, "m0", "m1");

            Topic topic = session.createTopic("jms.selector.topic");
            MessageConsumer subscriber = session.createConsumer(topic, "size = 1 OR JMSPriority > 7");
            MessageProducer publisher = session.createProducer(topic);
            for (int index = 0; index < 3; index++) {
                TextMessage message = session.createTextMessage("t" + index);
                message.setIntProperty("size", index);
                publisher.setPriority(index == 2 ? 9 : 4);
                publisher.send(message);
            }
            Expect.texts(subscriber, "t1", "t2");
            Expect.nothing(subscriber);
        });
    }

    private MessageChecks() {}
}
