package main

import (
	"bufio"
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/go-amqp"
)

type consumer struct {
	connection *amqp.Conn
	receiver   *amqp.Receiver
}

// serve answers one request per line until standard input ends.
func serve(b broker, lines *bufio.Scanner) {
	lines.Buffer(make([]byte, 1<<16), 1<<24)
	consumers := map[string]consumer{}
	for lines.Scan() {
		request, err := url.ParseQuery(strings.TrimSpace(lines.Text()))
		if err != nil {
			continue
		}
		answer := "id=" + request.Get("id")
		bodies, err := answerTo(b, request, consumers)
		if err != nil {
			answer += "&ok=0&error=" + url.QueryEscape(err.Error())
		} else {
			answer += "&ok=1"
			for _, body := range bodies {
				answer += "&body=" + url.QueryEscape(body)
			}
		}
		fmt.Println(answer)
	}
}

func answerTo(b broker, request url.Values, consumers map[string]consumer) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	handle, address, kind := request.Get("handle"), request.Get("address"), request.Get("kind")
	switch request.Get("op") {
	case "send":
		connection, session, err := b.connect(ctx)
		if err != nil {
			return nil, err
		}
		defer connection.Close()
		sender, err := session.NewSender(ctx, address, &amqp.SenderOptions{TargetCapabilities: []string{kind}})
		if err != nil {
			return nil, err
		}
		for _, body := range request["body"] {
			message := &amqp.Message{
				Header:                &amqp.MessageHeader{Durable: true},
				Value:                 body,
				ApplicationProperties: map[string]any{"origin": "go-amqp"},
			}
			if err := sender.Send(ctx, message, nil); err != nil {
				return nil, err
			}
		}
		return nil, nil
	case "open":
		connection, session, err := b.connect(ctx)
		if err != nil {
			return nil, err
		}
		options := &amqp.ReceiverOptions{Credit: 1, SourceCapabilities: []string{kind}}
		if group := request.Get("group"); group != "" {
			options.Name = group + "|global-volatile" + handle
			options.SourceCapabilities = []string{"topic", "shared", "global"}
		}
		receiver, err := session.NewReceiver(ctx, address, options)
		if err != nil {
			connection.Close()
			return nil, err
		}
		consumers[handle] = consumer{connection, receiver}
		return nil, nil
	case "take":
		receiver := consumers[handle].receiver
		count, _ := strconv.Atoi(request.Get("count"))
		limit, _ := strconv.Atoi(request.Get("limit"))
		var bodies []string
		for len(bodies) < count {
			wait, stop := context.WithTimeout(ctx, time.Duration(limit)*time.Millisecond)
			message, err := receiver.Receive(wait, nil)
			stop()
			if err != nil {
				if wait.Err() != nil {
					break
				}
				return nil, err
			}
			if err := receiver.AcceptMessage(ctx, message); err != nil {
				return nil, err
			}
			bodies = append(bodies, textOf(message))
		}
		return bodies, nil
	case "close":
		c := consumers[handle]
		delete(consumers, handle)
		_ = c.receiver.Close(ctx)
		return nil, c.connection.Close()
	}
	return nil, fmt.Errorf("no operation %q", request.Get("op"))
}

func textOf(message *amqp.Message) string {
	if text, ok := message.Value.(string); ok {
		return text
	}
	return string(message.GetData())
}
