import jakarta.jms.*;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Enumeration;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** Queues: sending, receiving, browsing, temporary queues, many consumers. */
final class QueueChecks {
    static void addTo(Map<String, Check> checks) {
        checks.put("send-receive", broker -> {
            Session session = broker.connect().createSession();
            Queue queue = session.createQueue("jms.basic");
            MessageConsumer consumer = session.createConsumer(queue);
            Expect.send(session, session.createProducer(queue), "hello");
            TextMessage got = (TextMessage) Expect.texts(consumer, "hello");
            Expect.equal(got.getJMSDestination(), queue, "JMSDestination");
            Expect.nothing(consumer);
            JMSContext context = broker.context(JMSContext.AUTO_ACKNOWLEDGE);
            context.createProducer().setProperty("n", 5).send(context.createQueue("jms.context"), "simple");
            JMSConsumer simple = context.createConsumer(context.createQueue("jms.context"));
            Expect.equal(simple.receiveBody(String.class, Expect.LONG), "simple", "body");
        });

        checks.put("order", broker -> {
            Session session = broker.connect("jms.forceAsyncSend=true").createSession();
            Queue queue = session.createQueue("jms.order");
            Expect.send(session, session.createProducer(queue), Expect.numbered(1000));
            MessageConsumer consumer = session.createConsumer(queue);
            Expect.texts(consumer, Expect.numbered(1000));
            Expect.nothing(consumer);
        });

        checks.put("async-send", broker -> {
            Session session = broker.connect().createSession();
            Queue queue = session.createQueue("jms.async");
            MessageProducer producer = session.createProducer(queue);
            int count = 2000;
            List<String> completed = Collections.synchronizedList(new ArrayList<>());
            List<Exception> failed = Collections.synchronizedList(new ArrayList<>());
            CountDownLatch done = new CountDownLatch(count);
            CompletionListener listener = new CompletionListener() {
                public void onCompletion(Message message) {
                    try {
                        completed.add(((TextMessage) message).getText());
                    } catch (JMSException unreadable) {
                        failed.add(unreadable);
                    }
                    done.countDown();
                }

                public void onException(Message message, Exception exception) {
                    failed.add(exception);
                    done.countDown();
                }
            };
            for (String text : Expect.numbered(count)) producer.send(session.createTextMessage(text), listener);
            Expect.truly(done.await(20, TimeUnit.SECONDS), "all sends complete");
            Expect.equal(failed.size(), 0, "failed sends " + failed);
            Expect.equal(completed, List.of(Expect.numbered(count)), "completion order");
            Expect.texts(session.createConsumer(queue), Expect.numbered(count));
        });

        checks.put("receive-timeout", broker -> {
            Session session = broker.connect().createSession();
            Queue queue = session.createQueue("jms.timeout");
            MessageConsumer consumer = session.createConsumer(queue);
            Expect.truly(consumer.receiveNoWait() == null, "receiveNoWait on an empty queue gives nothing");
            long began = System.nanoTime();
            Expect.truly(consumer.receive(500) == null, "receive(500) on an empty queue gives nothing");
            long waited = (System.nanoTime() - began) / 1_000_000;
            Expect.truly(waited >= 450 && waited < 3000, "receive(500) waits for half a second, not " + waited + " ms");
            MessageProducer producer = session.createProducer(queue);
            Expect.send(session, producer, "a", "b");
            // What is in the queue comes at once: with no wait only the broker's answer to the drain counts.
            Expect.equal(((TextMessage) consumer.receiveNoWait()).getText(), "a", "receiveNoWait");
            Expect.texts(consumer, "b");
            Connection stopped = broker.connect();
            Session other = stopped.createSession();
            MessageConsumer waiting = other.createConsumer(queue);
            stopped.stop();
            Expect.send(session, producer, "c");
            Expect.truly(waiting.receive(300) == null, "a stopped connection delivers nothing");
            stopped.start();
        });

        checks.put("prefetch-0", broker -> {
            Session session = broker.connect("jms.prefetchPolicy.all=0").createSession();
            Queue queue = session.createQueue("jms.prefetch0");
            Expect.send(session, session.createProducer(queue), Expect.numbered(10));
            MessageConsumer one = session.createConsumer(queue);
            MessageConsumer two = broker.connect("jms.prefetchPolicy.all=0").createSession().createConsumer(queue);
            for (int index = 0; index < 10; index++) Expect.texts(index % 2 == 0 ? one : two, "m" + index);
            Expect.truly(one.receiveNoWait() == null, "queue is empty");
            Expect.nothing(two);
        });

        checks.put("concurrent-consumers", broker -> {
            int count = 400;
            Set<String> got = Collections.synchronizedSet(new HashSet<>());
            List<String> twice = Collections.synchronizedList(new ArrayList<>());
            CountDownLatch done = new CountDownLatch(count);
            for (int member = 0; member < 4; member++) {
                Session session = broker.connect("jms.prefetchPolicy.all=10").createSession();
                session.createConsumer(session.createQueue("jms.share")).setMessageListener(message -> {
                    try {
                        String text = ((TextMessage) message).getText();
                        if (!got.add(text)) twice.add(text);
                    } catch (JMSException unreadable) {
                        twice.add(unreadable.toString());
                    }
                    done.countDown();
                });
            }
            Session session = broker.connect("jms.forceAsyncSend=true").createSession();
            Expect.send(session, session.createProducer(session.createQueue("jms.share")), Expect.numbered(count));
            Expect.truly(done.await(20, TimeUnit.SECONDS), "all messages came, only " + got.size());
            Expect.equal(got.size(), count, "different messages");
            Expect.equal(twice.size(), 0, "messages twice " + twice);
        });

        checks.put("browse", broker -> {
            Session session = broker.connect().createSession();
            Queue queue = session.createQueue("jms.browse");
            Expect.equal(browsed(session.createBrowser(queue)), List.of(), "empty queue");
            Expect.send(session, session.createProducer(queue), Expect.numbered(50));
            List<String> all = List.of(Expect.numbered(50));
            Expect.equal(browsed(session.createBrowser(queue)), all, "first look");
            Expect.equal(browsed(session.createBrowser(queue)), all, "second look");
            MessageConsumer consumer = session.createConsumer(queue);
            Expect.texts(consumer, Expect.numbered(50));
            Expect.nothing(consumer);
        });

        checks.put("request-reply", broker -> {
            Session service = broker.connect().createSession();
            MessageConsumer requests = service.createConsumer(service.createQueue("jms.service"));
            requests.setMessageListener(request -> {
                try {
                    TextMessage reply = service.createTextMessage("re: " + ((TextMessage) request).getText());
                    reply.setJMSCorrelationID(request.getJMSMessageID());
                    service.createProducer(request.getJMSReplyTo()).send(reply);
                } catch (JMSException failure) {
                    failure.printStackTrace();
                }
            });
            Session session = broker.connect().createSession();
            TemporaryQueue replies = session.createTemporaryQueue();
            MessageConsumer answers = session.createConsumer(replies);
            TextMessage request = session.createTextMessage("question");
            request.setJMSReplyTo(replies);
            session.createProducer(session.createQueue("jms.service")).send(request);
            Message answer = Expect.texts(answers, "re: question");
            Expect.equal(answer.getJMSCorrelationID(), request.getJMSMessageID(), "JMSCorrelationID");
            answers.close();
            replies.delete();
            MessageProducer late = service.createProducer(null);
            Expect.throwing(JMSException.class, () -> late.send(replies, service.createTextMessage("late")));
            Session requestor = broker.connect().createSession(false, Session.AUTO_ACKNOWLEDGE);
            TemporaryQueue second = requestor.createTemporaryQueue();
            Expect.truly(!second.getQueueName().equals(replies.getQueueName()), "temporary names differ");
        });

        checks.put("anonymous-producer", broker -> {
            Session session = broker.connect().createSession();
            MessageProducer producer = session.createProducer(null);
            for (String name : new String[] {"jms.anon.a", "jms.anon.b"}) {
                Queue queue = session.createQueue(name);
                producer.send(queue, session.createTextMessage(name));
                Expect.texts(session.createConsumer(queue), name);
            }
            Topic topic = session.createTopic("jms.anon.topic");
            MessageConsumer subscriber = session.createConsumer(topic);
            producer.send(topic, session.createTextMessage("to a topic"));
            Message got = Expect.texts(subscriber, "to a topic");
            Expect.equal(got.getJMSDestination(), topic, "JMSDestination");
        });

        checks.put("presettled", broker -> {
            Session session = broker.connect("jms.presettlePolicy.presettleAll=true").createSession();
            Queue queue = session.createQueue("jms.presettled");
            Expect.send(session, session.createProducer(queue), Expect.numbered(100));
            MessageConsumer consumer = session.createConsumer(queue);
            Expect.texts(consumer, Expect.numbered(100));
            Expect.nothing(consumer);
        });
    }

    static List<String> browsed(QueueBrowser browser) throws JMSException {
        List<String> texts = new ArrayList<>();
        for (Enumeration<?> seen = browser.getEnumeration(); seen.hasMoreElements(); ) {
            texts.add(((TextMessage) seen.nextElement()).getText());
        }
        browser.close();
        return texts;
    }

    private QueueChecks() {}
}
