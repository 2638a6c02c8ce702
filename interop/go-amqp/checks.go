package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/Azure/go-amqp"
)

type check struct {
	key string
	run func(ctx context.Context, b broker)
}

// A check fails by panicking; runCells turns that into the cell's reason.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func got[T any](value T, err error) T {
	must(err)
	return value
}

func equal(actual, expected any, what string) {
	if !reflect.DeepEqual(actual, expected) {
		panic(fmt.Sprintf("%s: expected %v, got %v", what, expected, actual))
	}
}

func numbered(count int) []string {
	texts := make([]string, count)
	for index := range texts {
		texts[index] = fmt.Sprintf("m%d", index)
	}
	return texts
}

func (b broker) session(ctx context.Context) *amqp.Session {
	_, session, err := b.connect(ctx)
	must(err)
	return session
}

func queueSender(ctx context.Context, session *amqp.Session, address string) *amqp.Sender {
	return got(session.NewSender(ctx, address, &amqp.SenderOptions{TargetCapabilities: []string{"queue"}}))
}

func queueReceiver(ctx context.Context, session *amqp.Session, address string, credit int32) *amqp.Receiver {
	return got(session.NewReceiver(ctx, address, &amqp.ReceiverOptions{Credit: credit, SourceCapabilities: []string{"queue"}}))
}

func durable(text string) *amqp.Message {
	return &amqp.Message{Header: &amqp.MessageHeader{Durable: true}, Value: text}
}

func fill(ctx context.Context, session *amqp.Session, address string, texts []string) {
	sender := queueSender(ctx, session, address)
	for _, text := range texts {
		must(sender.Send(ctx, durable(text), nil))
	}
	must(sender.Close(ctx))
}

func take(ctx context.Context, receiver *amqp.Receiver, count int) []string {
	texts := []string{}
	for range count {
		message := got(receiver.Receive(ctx, nil))
		must(receiver.AcceptMessage(ctx, message))
		texts = append(texts, textOf(message))
	}
	return texts
}

func nothing(receiver *amqp.Receiver) {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if message, err := receiver.Receive(ctx, nil); err == nil {
		panic("unexpected message " + textOf(message))
	}
}

var checks = []check{
	{"send-receive", func(ctx context.Context, b broker) {
		session := b.session(ctx)
		receiver := queueReceiver(ctx, session, "go.basic", 1)
		fill(ctx, session, "go.basic", []string{"hello"})
		equal(take(ctx, receiver, 1), []string{"hello"}, "texts")
		nothing(receiver)
	}},
	{"order", func(ctx context.Context, b broker) {
		session := b.session(ctx)
		fill(ctx, session, "go.order", numbered(1000))
		receiver := queueReceiver(ctx, session, "go.order", 100)
		equal(take(ctx, receiver, 1000), numbered(1000), "texts")
		nothing(receiver)
	}},
	{"async-send", func(ctx context.Context, b broker) {
		session := b.session(ctx)
		sender := queueSender(ctx, session, "go.async")
		texts := numbered(1000)
		pending := make([]amqp.SendReceipt, 0, len(texts))
		for _, text := range texts {
			pending = append(pending, got(sender.SendWithReceipt(ctx, durable(text), nil)))
		}
		for _, receipt := range pending {
			state := got(receipt.Wait(ctx))
			if _, ok := state.(*amqp.StateAccepted); !ok {
				panic(fmt.Sprintf("sent message was not accepted: %v", state))
			}
		}
		equal(take(ctx, queueReceiver(ctx, session, "go.async", 200), 1000), texts, "texts")
	}},
	{"bodies", func(ctx context.Context, b broker) {
		session := b.session(ctx)
		sender := queueSender(ctx, session, "go.bodies")
		receiver := queueReceiver(ctx, session, "go.bodies", 10)
		for _, value := range []any{"ünïcødé ✓", int64(-5), uint8(7), 2.5, true, map[string]any{"a": int64(1)}} {
			must(sender.Send(ctx, &amqp.Message{Value: value}, nil))
			message := got(receiver.Receive(ctx, nil))
			equal(message.Value, value, "value")
			must(receiver.AcceptMessage(ctx, message))
		}
		parts := [][]byte{{0, 1, 255}, []byte("second"), {}}
		must(sender.Send(ctx, &amqp.Message{Data: parts}, nil))
		message := got(receiver.Receive(ctx, nil))
		equal(len(message.Data), 3, "data sections")
		equal(bytes.Join(message.Data, []byte("|")), bytes.Join(parts, []byte("|")), "data")
		must(receiver.AcceptMessage(ctx, message))
		sequence := [][]any{{int64(1), "two"}, {true}}
		must(sender.Send(ctx, &amqp.Message{Sequence: sequence}, nil))
		message = got(receiver.Receive(ctx, nil))
		equal(message.Sequence, sequence, "sequence")
		must(receiver.AcceptMessage(ctx, message))
	}},
	{"properties", func(ctx context.Context, b broker) {
		session := b.session(ctx)
		text := func(value string) *string { return &value }
		created := time.UnixMilli(1700000000000).UTC()
		group := uint32(3)
		sent := &amqp.Message{
			Header: &amqp.MessageHeader{Durable: true, Priority: 7},
			Properties: &amqp.MessageProperties{
				MessageID: amqp.UUID{1, 2, 3}, UserID: []byte(b.user), To: text("go.props"), Subject: text("subject"),
				ReplyTo: text("back"), CorrelationID: uint64(9), ContentType: text("text/plain"),
				ContentEncoding: text("identity"), CreationTime: &created, GroupID: text("group"),
				GroupSequence: &group, ReplyToGroupID: text("reply-group"),
			},
			ApplicationProperties: map[string]any{"s": "text", "n": int64(5), "b": true, "f": 2.5, "t": created},
			Annotations:           amqp.Annotations{"x-opt-note": "kept"},
			Footer:                amqp.Annotations{"x-foot": "print"},
			Value:                 "b",
		}
		must(queueSender(ctx, session, "go.props").Send(ctx, sent, nil))
		message := got(queueReceiver(ctx, session, "go.props", 1).Receive(ctx, nil))
		equal(string(got(json.Marshal(message.Properties))), string(got(json.Marshal(sent.Properties))), "properties")
		equal(fmt.Sprint(message.ApplicationProperties), fmt.Sprint(sent.ApplicationProperties), "application properties")
		equal(message.Annotations["x-opt-note"], "kept", "annotation")
		equal(message.Footer["x-foot"], "print", "footer")
		equal(message.Header.Priority, uint8(7), "priority")
		equal(message.Header.Durable, true, "durable")
	}},
	{"large", func(ctx context.Context, b broker) {
		session := b.session(ctx)
		body := bytes.Repeat([]byte("0123456789abcdef"), 512*1024)
		sender := queueSender(ctx, session, "go.large")
		must(sender.Send(ctx, amqp.NewMessage(body), nil))
		message := got(queueReceiver(ctx, session, "go.large", 1).Receive(ctx, nil))
		equal(bytes.Equal(message.GetData(), body), true, "8 MiB came back as sent")
	}},
	{"acknowledge", func(ctx context.Context, b broker) {
		connection, session, err := b.connect(ctx)
		must(err)
		fill(ctx, session, "go.ack", numbered(5))
		equal(take(ctx, queueReceiver(ctx, session, "go.ack", 10), 5), numbered(5), "texts")
		must(connection.Close())
		nothing(queueReceiver(ctx, b.session(ctx), "go.ack", 1))
	}},
	{"redelivery", func(ctx context.Context, b broker) {
		session := b.session(ctx)
		fill(ctx, session, "go.release", numbered(2))
		receiver := queueReceiver(ctx, session, "go.release", 1)
		first := got(receiver.Receive(ctx, nil))
		must(receiver.ReleaseMessage(ctx, first))
		rest := take(ctx, receiver, 2)
		slices.Sort(rest)
		equal(rest, numbered(2), "both again")
		nothing(receiver)
	}},
	{"delivery-count", func(ctx context.Context, b broker) {
		session := b.session(ctx)
		fill(ctx, session, "go.count", []string{"m"})
		receiver := queueReceiver(ctx, session, "go.count", 1)
		for attempt := range 3 {
			message := got(receiver.Receive(ctx, nil))
			equal(message.Header.DeliveryCount, uint32(attempt), "delivery-count")
			must(receiver.ModifyMessage(ctx, message, &amqp.ModifyMessageOptions{DeliveryFailed: true}))
		}
		take(ctx, receiver, 1)
	}},
	{"reject", func(ctx context.Context, b broker) {
		session := b.session(ctx)
		fill(ctx, session, "go.reject", []string{"bad", "good"})
		receiver := queueReceiver(ctx, session, "go.reject", 1)
		must(receiver.RejectMessage(ctx, got(receiver.Receive(ctx, nil)), &amqp.Error{Condition: "app:bad"}))
		equal(take(ctx, receiver, 1), []string{"good"}, "texts")
		equal(take(ctx, queueReceiver(ctx, session, "DLQ.go.reject", 1), 1), []string{"bad"}, "dead letter")
	}},
	{"presettled", func(ctx context.Context, b broker) {
		session := b.session(ctx)
		sender := got(session.NewSender(ctx, "go.presettled", &amqp.SenderOptions{
			TargetCapabilities: []string{"queue"}, SettlementMode: amqp.SenderSettleModeSettled.Ptr()}))
		for _, text := range numbered(20) {
			must(sender.Send(ctx, durable(text), nil))
		}
		receiver := got(session.NewReceiver(ctx, "go.presettled", &amqp.ReceiverOptions{
			SourceCapabilities: []string{"queue"}, RequestedSenderSettleMode: amqp.SenderSettleModeSettled.Ptr(), Credit: 20}))
		for _, text := range numbered(20) {
			equal(textOf(got(receiver.Receive(ctx, nil))), text, "text")
		}
	}},
	{"settle-second", func(ctx context.Context, b broker) {
		session := b.session(ctx)
		fill(ctx, session, "go.second", numbered(10))
		receiver := got(session.NewReceiver(ctx, "go.second", &amqp.ReceiverOptions{
			SourceCapabilities: []string{"queue"}, SettlementMode: amqp.ReceiverSettleModeSecond.Ptr(), Credit: 10}))
		// AcceptMessage returns only once the broker has settled.
		equal(take(ctx, receiver, 10), numbered(10), "texts")
		nothing(receiver)
	}},
	{"prefetch-0", func(ctx context.Context, b broker) {
		session := b.session(ctx)
		fill(ctx, session, "go.credit", numbered(10))
		receiver := queueReceiver(ctx, session, "go.credit", -1)
		for _, text := range numbered(10) {
			must(receiver.IssueCredit(1))
			equal(take(ctx, receiver, 1), []string{text}, "text")
			if receiver.Prefetched() != nil {
				panic("more messages than credit")
			}
		}
	}},
	{"receive-timeout", func(ctx context.Context, b broker) {
		session := b.session(ctx)
		receiver := queueReceiver(ctx, session, "go.drain", -1)
		// The client forgets credit that a drain overtakes inside it, hence the pauses.
		drain := func(credit uint32) {
			must(receiver.IssueCredit(credit))
			time.Sleep(200 * time.Millisecond)
			must(receiver.DrainCredit(ctx, nil))
		}
		drain(5)
		fill(ctx, session, "go.drain", numbered(3))
		drain(10)
		for _, text := range numbered(3) {
			message := receiver.Prefetched()
			if message == nil {
				panic("drained without " + text)
			}
			equal(textOf(message), text, "text")
			must(receiver.AcceptMessage(ctx, message))
		}
	}},
	{"browse", func(ctx context.Context, b broker) {
		session := b.session(ctx)
		fill(ctx, session, "go.browse", numbered(3))
		browser := got(session.NewReceiver(ctx, "go.browse", &amqp.ReceiverOptions{
			SourceCapabilities: []string{"queue"}, RequestedSenderSettleMode: amqp.SenderSettleModeSettled.Ptr(),
			SourceDistributionMode: amqp.SourceDistributionModeCopy, Credit: 10}))
		for _, text := range numbered(3) {
			equal(textOf(got(browser.Receive(ctx, nil))), text, "text")
		}
		must(browser.Close(ctx))
		equal(take(ctx, queueReceiver(ctx, session, "go.browse", 10), 3), numbered(3), "texts")
	}},
	{"request-reply", func(ctx context.Context, b broker) {
		session, service := b.session(ctx), b.session(ctx)
		replies := got(session.NewReceiver(ctx, "", &amqp.ReceiverOptions{DynamicAddress: true}))
		requests := queueReceiver(ctx, service, "go.service", 1)
		address := replies.Address()
		question := &amqp.Message{Properties: &amqp.MessageProperties{ReplyTo: &address, CorrelationID: "q1"}, Value: "6*7"}
		must(queueSender(ctx, session, "go.service").Send(ctx, question, nil))
		request := got(requests.Receive(ctx, nil))
		must(requests.AcceptMessage(ctx, request))
		answers := got(service.NewSender(ctx, *request.Properties.ReplyTo, nil))
		answer := &amqp.Message{Properties: &amqp.MessageProperties{CorrelationID: request.Properties.CorrelationID}, Value: "42"}
		must(answers.Send(ctx, answer, nil))
		reply := got(replies.Receive(ctx, nil))
		equal(textOf(reply), "42", "reply")
		equal(reply.Properties.CorrelationID, "q1", "correlation-id")
	}},
	{"topic-fanout", func(ctx context.Context, b broker) {
		session := b.session(ctx)
		topic := []string{"topic"}
		subscribe := func() *amqp.Receiver {
			return got(b.session(ctx).NewReceiver(ctx, "go.fan", &amqp.ReceiverOptions{SourceCapabilities: topic, Credit: 20}))
		}
		one, two := subscribe(), subscribe()
		sender := got(session.NewSender(ctx, "go.fan", &amqp.SenderOptions{TargetCapabilities: topic}))
		for _, text := range numbered(10) {
			must(sender.Send(ctx, durable(text), nil))
		}
		equal(take(ctx, one, 10), numbered(10), "first subscriber")
		equal(take(ctx, two, 10), numbered(10), "second subscriber")
	}},
	{"durable", func(ctx context.Context, b broker) {
		options := &amqp.ReceiverOptions{Name: "sub", SourceCapabilities: []string{"topic"}, Credit: 10,
			SourceDurability: amqp.DurabilityUnsettledState, SourceExpiryPolicy: amqp.ExpiryPolicyNever}
		named := func(settings *amqp.ConnOptions) { settings.ContainerID = "go-durable" }
		connection, session, err := b.connect(ctx, named)
		must(err)
		got(session.NewReceiver(ctx, "go.durable", options))
		must(connection.Close())
		sender := got(b.session(ctx).NewSender(ctx, "go.durable", &amqp.SenderOptions{TargetCapabilities: []string{"topic"}}))
		for _, text := range numbered(3) {
			must(sender.Send(ctx, durable(text), nil))
		}
		_, session, err = b.connect(ctx, named)
		must(err)
		receiver := got(session.NewReceiver(ctx, "go.durable", options))
		equal(take(ctx, receiver, 3), numbered(3), "texts")
		must(receiver.Close(ctx))
	}},
	{"selector", func(ctx context.Context, b broker) {
		session := b.session(ctx)
		sender := queueSender(ctx, session, "go.selector")
		for index, color := range []string{"red", "blue", "red"} {
			message := durable(numbered(3)[index])
			message.ApplicationProperties = map[string]any{"color": color}
			must(sender.Send(ctx, message, nil))
		}
		receiver := got(session.NewReceiver(ctx, "go.selector", &amqp.ReceiverOptions{
			SourceCapabilities: []string{"queue"}, Credit: 10, Filters: []amqp.LinkFilter{amqp.NewSelectorFilter("color = 'red'")}}))
		equal(take(ctx, receiver, 2), []string{"m0", "m2"}, "texts")
		nothing(receiver)
	}},
	{"refusals", func(ctx context.Context, b broker) {
		session := b.session(ctx)
		_, err := session.NewReceiver(ctx, "go.refuse", &amqp.ReceiverOptions{
			SourceCapabilities: []string{"queue"}, Filters: []amqp.LinkFilter{amqp.NewSelectorFilter("color = = 'red'")}})
		var refusal *amqp.Error
		if !errors.As(err, &refusal) {
			panic(fmt.Sprintf("a bad selector was not refused: %v", err))
		}
		equal(string(refusal.Condition), "amqp:invalid-field", "condition")
		fill(ctx, session, "go.refuse", []string{"fine"})
		equal(take(ctx, queueReceiver(ctx, session, "go.refuse", 1), 1), []string{"fine"}, "texts")
	}},
	{"heartbeat", func(ctx context.Context, b broker) {
		_, session, err := b.connect(ctx, func(settings *amqp.ConnOptions) { settings.IdleTimeout = 2 * time.Second })
		must(err)
		receiver := queueReceiver(ctx, session, "go.idle", 1)
		time.Sleep(3500 * time.Millisecond)
		fill(ctx, session, "go.idle", []string{"still here"})
		equal(take(ctx, receiver, 1), []string{"still here"}, "texts")
	}},
}
