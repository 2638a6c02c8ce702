import jakarta.jms.*;
import java.util.Map;

/** Transacted sessions. */
final class TransactionChecks {
    static void addTo(Map<String, Check> checks) {
        checks.put("transactions", broker -> {
            Session session = broker.connect().createSession(Session.SESSION_TRANSACTED);
            Queue one = session.createQueue("jms.tx.one");
            Queue two = session.createQueue("jms.tx.two");
            Session reader = broker.connect().createSession();
            MessageConsumer fromOne = reader.createConsumer(one);
            MessageConsumer fromTwo = reader.createConsumer(two);
            MessageProducer toOne = session.createProducer(one);
            MessageProducer toTwo = session.createProducer(two);
            Expect.send(session, toOne, "a");
            Expect.send(session, toTwo, "b");
            Expect.nothing(fromOne);
            session.commit();
            Expect.texts(fromOne, "a");
            Expect.texts(fromTwo, "b");
            Expect.send(session, toOne, "undone");
            session.rollback();
            Expect.send(session, toOne, "c");
            session.commit();
            Expect.texts(fromOne, "c");
            Expect.nothing(fromOne);
            // An open transaction ends with its connection.
            Connection doomed = broker.connect();
            Session open = doomed.createSession(Session.SESSION_TRANSACTED);
            Expect.send(open, open.createProducer(one), "never");
            doomed.close();
            Expect.nothing(fromOne);
        });

        checks.put("transactions-receive", broker -> {
            Session sender = broker.connect().createSession();
            Queue queue = sender.createQueue("jms.tx.receive");
            Queue out = sender.createQueue("jms.tx.out");
            Expect.send(sender, sender.createProducer(queue), "a", "b", "c");
            Connection connection = broker.connect();
            Session session = connection.createSession(Session.SESSION_TRANSACTED);
            MessageConsumer consumer = session.createConsumer(queue);
            MessageProducer forward = session.createProducer(out);
            Expect.texts(consumer, "a", "b");
            Expect.send(session, forward, "a-out");
            session.rollback();
            Message again = Expect.texts(consumer, "a");
            Expect.equal(again.getJMSRedelivered(), true, "JMSRedelivered after rollback");
            Expect.equal(again.getIntProperty("JMSXDeliveryCount"), 2, "JMSXDeliveryCount after rollback");
            Expect.send(session, forward, "a-out again");
            session.commit();
            Expect.texts(consumer, "b");
            connection.close();
            MessageConsumer rest = sender.createConsumer(queue);
            Expect.texts(rest, "b", "c");
            Expect.nothing(rest);
            MessageConsumer forwarded = sender.createConsumer(out);
            Expect.texts(forwarded, "a-out again");
            Expect.nothing(forwarded);
        });
    }

    private TransactionChecks() {}
}
