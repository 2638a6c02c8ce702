// Azure's Go client for AMQP 1.0 against a broker.
//
//	go-amqp cells HOST PORT USER PASSWORD [KEY ...]   every check, or the named ones; one report line each
//	go-amqp worker HOST PORT USER PASSWORD            sends and receives as told on standard input
//
// The line protocol is described in interop/README.md.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/Azure/go-amqp"
)

type broker struct {
	address, user, password string
}

func (b broker) connect(ctx context.Context, options ...func(*amqp.ConnOptions)) (*amqp.Conn, *amqp.Session, error) {
	settings := &amqp.ConnOptions{SASLType: amqp.SASLTypePlain(b.user, b.password)}
	for _, option := range options {
		option(settings)
	}
	connection, err := amqp.Dial(ctx, b.address, settings)
	if err != nil {
		return nil, nil, err
	}
	session, err := connection.NewSession(ctx, nil)
	return connection, session, err
}

func report(key string, began time.Time, err error) {
	values := url.Values{"cell": {key}, "ms": {strconv.FormatInt(time.Since(began).Milliseconds(), 10)}}
	values.Set("ok", "1")
	if err != nil {
		values.Set("ok", "0")
		values.Set("error", err.Error())
	}
	// The harness looks for lines that begin with the cell.
	cell := values.Get("cell")
	values.Del("cell")
	fmt.Printf("cell=%s&%s\n", url.QueryEscape(cell), values.Encode())
}

func runCells(b broker, only []string) {
	for _, c := range checks {
		if len(only) > 0 && !slices.Contains(only, c.key) {
			continue
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		done := make(chan error, 1)
		go func() {
			defer func() {
				if reason := recover(); reason != nil {
					done <- fmt.Errorf("%v", reason)
				}
			}()
			c.run(ctx, b)
			done <- nil
		}()
		select {
		case err := <-done:
			report(c.key, began, err)
		case <-time.After(40 * time.Second):
			report(c.key, began, fmt.Errorf("hangs"))
		}
		cancel()
	}
}

func main() {
	if len(os.Args) < 6 {
		fmt.Fprintln(os.Stderr, "usage: go-amqp cells|worker HOST PORT USER PASSWORD [KEY ...]")
		os.Exit(2)
	}
	mode, host, port, user, password := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	b := broker{"amqp://" + net.JoinHostPort(host, port), user, password}
	if mode == "cells" {
		runCells(b, os.Args[6:])
		return
	}
	serve(b, bufio.NewScanner(os.Stdin))
}
