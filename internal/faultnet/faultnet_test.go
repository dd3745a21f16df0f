package faultnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSplit(t *testing.T) {
	message := "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhel\r\n\r\n"
	push := ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$0\r\n\r\n"
	other := []string{"+OK\r\n", ":12\r\n", "$-1\r\n", "*-1\r\n", "_\r\n", "%1\r\n+k\r\n*2\r\n:1\r\n#t\r\n", "$3\r\nabc\r\n", "-ERR x\r\n", "*0\r\n"}
	stream := message
	for _, o := range other {
		stream += o
	}
	stream += push
	for chunk := 1; chunk <= len(stream); chunk++ {
		var s splitter
		var got string
		var messages, frames int
		for at := 0; at < len(stream); at += chunk {
			for _, f := range s.split([]byte(stream[at:min(at+chunk, len(stream))])) {
				got += string(f.bytes)
				frames++
				if f.message {
					messages++
				}
			}
		}
		if got != stream || messages != 2 || frames != len(other)+2 {
			t.Fatalf("in chunks of %d: %d frames, %d messages, %q", chunk, frames, messages, got)
		}
	}
}

// echo returns the address of a server that answers what it hears.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	return l.Addr().String()
}

func TestFaults(t *testing.T) {
	p := Start(t, echo(t))
	dial := func() net.Conn {
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	ask := func(c net.Conn) error {
		c.SetDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := c.Write([]byte("+x\r\n")); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 4))
		return err
	}
	c := dial()
	if err := ask(c); err != nil {
		t.Fatal(err)
	}
	p.Silence()
	var timeout net.Error
	if err := ask(c); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("through a silent proxy: %v", err)
	}
	p.Heal()
	if err := ask(c); err == nil {
		t.Fatal("a stream with a hole went on")
	}
	if err := ask(dial()); err != nil {
		t.Fatalf("a new connection after Heal: %v", err)
	}
	p.Delay(20 * time.Millisecond)
	if err := ask(dial()); err != nil {
		t.Fatalf("delayed: %v", err)
	}
	p.Cut()
	if err := ask(dial()); err == nil {
		t.Fatal("answered while cut")
	}
	p.Heal()
	if err := ask(dial()); err != nil {
		t.Fatalf("after Heal: %v", err)
	}
}

// TestMessages: messages are dropped whole, and nothing else is.
func TestMessages(t *testing.T) {
	ctx := context.Background()
	server := redistest.Start(t)
	p := Start(t, server.Addr())
	client := redis.NewClient(&redis.Options{Addr: p.Addr()})
	defer client.Close()
	sub := client.Subscribe(ctx, "c")
	defer sub.Close()
	if _, err := sub.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	p.DropMessages(2)
	publish := server.Client(t)
	for i := range 5 {
		publish.Publish(ctx, "c", fmt.Sprint(i))
	}
	for i := 2; i < 5; i++ {
		if m, err := sub.ReceiveMessage(ctx); err != nil || m.Payload != fmt.Sprint(i) {
			t.Fatalf("heard %v, %v; want %d", m, err, i)
		}
	}
	p.HalfWrite()
	publish.Publish(ctx, "c", "half")
	if m, err := sub.ReceiveTimeout(ctx, time.Second); err == nil {
		t.Fatalf("heard %v of half a message", m)
	}
}
