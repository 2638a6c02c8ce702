import jakarta.jms.*;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;

/** Topics: plain, durable and shared subscriptions, no-local, unsubscribe, temporary topics. */
final class TopicChecks {
    static void addTo(Map<String, Check> checks) {
        checks.put("topic-fanout", broker -> {
            Session session = broker.connect().createSession();
            Topic topic = session.createTopic("jms.fan");
            MessageConsumer one = session.createConsumer(topic);
            MessageConsumer two = broker.connect().createSession().createConsumer(topic);
            MessageProducer producer = session.createProducer(topic);
            Expect.send(session, producer, Expect.numbered(50));
            Expect.texts(one, Expect.numbered(50));
            Message got = Expect.texts(two, Expect.numbered(50));
            Expect.equal(got.getJMSDestination(), topic, "JMSDestination");
            MessageConsumer late = session.createConsumer(topic);
            Expect.nothing(late);
            // A queue of the same name is another destination.
            Expect.nothing(session.createConsumer(session.createQueue("jms.fan")));
        });

        checks.put("temporary-topic", broker -> {
            Session session = broker.connect().createSession();
            TemporaryTopic topic = session.createTemporaryTopic();
            MessageConsumer consumer = session.createConsumer(topic);
            Session other = broker.connect().createSession();
            Expect.send(other, other.createProducer(topic), "a");
            Expect.texts(consumer, "a");
            consumer.close();
            topic.delete();
        });

        checks.put("durable", broker -> {
            Connection first = broker.connectAs("jms-durable");
            Session session = first.createSession();
            Topic topic = session.createTopic("jms.durable");
            Session publisher = broker.connect().createSession();
            MessageProducer producer = publisher.createProducer(topic);
            MessageConsumer subscriber = session.createDurableSubscriber(topic, "sub");
            Expect.send(publisher, producer, "a");
            Expect.texts(subscriber, "a");
            first.close();
            Expect.send(publisher, producer, "b", "c");
            Connection second = broker.connectAs("jms-durable");
            Session again = second.createSession();
            MessageConsumer resumed = again.createDurableConsumer(topic, "sub");
            Expect.texts(resumed, "b", "c");
            Expect.nothing(resumed);
            // One active consumer at a time.
            Expect.throwing(JMSException.class, () -> again.createDurableConsumer(topic, "sub"));
            // Another selector makes another subscription of the same name.
            resumed.close();
            Expect.send(publisher, producer, "gone");
            MessageConsumer changed = again.createDurableSubscriber(topic, "sub", "n = 1", false);
            TextMessage wanted = publisher.createTextMessage("wanted");
            wanted.setIntProperty("n", 1);
            Expect.send(publisher, producer, "unwanted");
            producer.send(wanted);
            Expect.texts(changed, "wanted");
            Expect.nothing(changed);
            changed.close();
            again.unsubscribe("sub");
        });

        checks.put("unsubscribe", broker -> {
            Connection connection = broker.connectAs("jms-unsubscribe");
            Session session = connection.createSession();
            Topic topic = session.createTopic("jms.unsubscribe");
            MessageConsumer subscriber = session.createDurableConsumer(topic, "sub");
            Expect.throwing(JMSException.class, () -> session.unsubscribe("sub"));
            subscriber.close();
            Expect.send(session, session.createProducer(topic), "backlog");
            session.unsubscribe("sub");
            MessageConsumer fresh = session.createDurableConsumer(topic, "sub");
            Expect.nothing(fresh);
            fresh.close();
            session.unsubscribe("sub");
            Expect.throwing(InvalidDestinationException.class, () -> session.unsubscribe("sub"));
        });

        checks.put("shared", broker -> {
            Topic[] topic = {null};
            Session one = broker.connect("jms.prefetchPolicy.all=5").createSession();
            topic[0] = one.createTopic("jms.shared");
            MessageConsumer first = one.createSharedConsumer(topic[0], "share");
            Session two = broker.connect("jms.prefetchPolicy.all=5").createSession();
            MessageConsumer second = two.createSharedConsumer(topic[0], "share");
            divided(broker, topic[0], first, second);
            // With a client id the name belongs to that client.
            Session owned = broker.connectAs("jms-shared-owner").createSession();
            MessageConsumer mine = owned.createSharedConsumer(topic[0], "share");
            Expect.send(owned, owned.createProducer(topic[0]), "for both");
            Expect.texts(mine, "for both");
        });

        checks.put("shared-durable", broker -> {
            Connection first = broker.connect("jms.prefetchPolicy.all=5");
            Session one = first.createSession();
            Topic topic = one.createTopic("jms.shared.durable");
            MessageConsumer a = one.createSharedDurableConsumer(topic, "share");
            Connection second = broker.connect("jms.prefetchPolicy.all=5");
            Session two = second.createSession();
            MessageConsumer b = two.createSharedDurableConsumer(topic, "share");
            divided(broker, topic, a, b);
            first.close();
            second.close();
            Session publisher = broker.connect().createSession();
            Expect.send(publisher, publisher.createProducer(topic), "while away");
            Session again = broker.connect().createSession();
            MessageConsumer back = again.createSharedDurableConsumer(topic, "share");
            Expect.texts(back, "while away");
            Expect.nothing(back);
            back.close();
            again.unsubscribe("share");
        });

        checks.put("no-local", broker -> {
            Connection connection = broker.connectAs("jms-no-local");
            Session session = connection.createSession();
            Topic topic = session.createTopic("jms.nolocal");
            MessageConsumer deaf = session.createConsumer(topic, null, true);
            MessageConsumer all = session.createConsumer(topic);
            Session other = broker.connect().createSession();
            Expect.send(session, session.createProducer(topic), "own");
            Expect.send(other, other.createProducer(topic), "foreign");
            Expect.texts(all, "own", "foreign");
            Expect.texts(deaf, "foreign");
            Expect.nothing(deaf);
        });
    }

    /** Forty messages over two members with room for five each: both get some, each message goes to one. */
    private static void divided(Broker broker, Topic topic, MessageConsumer a, MessageConsumer b) throws JMSException {
        Session publisher = broker.connect().createSession();
        Expect.send(publisher, publisher.createProducer(topic), Expect.numbered(40));
        Set<String> got = new HashSet<>();
        int[] each = {0, 0};
        MessageConsumer[] members = {a, b};
        for (int misses = 0; got.size() < 40 && misses < 40; ) {
            for (int member = 0; member < 2; member++) {
                Message message = members[member].receive(200);
                if (message == null) {
                    misses++;
                    continue;
                }
                Expect.truly(got.add(((TextMessage) message).getText()), "delivered to one member only");
                each[member]++;
            }
        }
        Expect.equal(got.size(), 40, "messages");
        Expect.truly(each[0] > 0 && each[1] > 0, "both members got some: " + each[0] + " and " + each[1]);
    }

    private TopicChecks() {}
}
