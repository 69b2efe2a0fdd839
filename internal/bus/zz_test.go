package bus_test

import (
	"os"
	"testing"
	"time"

	"github.com/rabbitmq/amqp091-go"
	"github.com/stoa-lms/stoa/internal/bus/amqp"
	"github.com/stoa-lms/stoa/internal/testserver"
	"log/slog"
)

func TestZZKill(t *testing.T) {
	dir := "/tmp/bussrv/zz"
	os.RemoveAll(dir)
	server, err := testserver.StartRabbitMQ(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	b := amqp.Open(server.URL, slog.Default())
	if err := b.Declare(t.Context(), map[string][]string{"one": {"a.b"}}); err != nil {
		t.Fatal(err)
	}
	if d := os.Getenv("ZZWAIT"); d != "" {
		dd, _ := time.ParseDuration(d)
		time.Sleep(dd)
	}
	if os.Getenv("ZZSTOP") != "" {
		server.Stop()
	} else {
		server.Kill()
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := os.Getenv("ZZAFTER"); d != "" {
		dd, _ := time.ParseDuration(d)
		time.Sleep(dd)
	}
	conn, err := amqp091.Dial(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	ch, _ := conn.Channel()
	bb := time.Now()
	done := make(chan bool)
	go func() {
		_, err := ch.Consume("stoa.one", "", false, false, false, false, nil)
		t.Log("consume", time.Since(bb), err)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(8 * time.Second):
		t.Log("consume hangs")
	}
}
