package server

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// TestStart: a server of its own, that accounts for what it does and leaves nothing
// behind.
func TestStart(t *testing.T) {
	s, err := Start()
	if errors.Is(err, ErrNoBinary) && os.Getenv("NEARCACHE_REQUIRE_REAL") != "1" {
		t.Skip("SKIPPED: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	before, err := s.Account(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		s.Client.Set(ctx, "key", strings.Repeat("x", 1000), 0)
	}
	after, err := s.Account(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if n := after.Commands - before.Commands; n < 100 || n > 110 {
		t.Errorf("%d commands counted for 100", n)
	}
	if after.CPU < before.CPU || after.Memory <= before.Memory || after.Clients < 1 || !after.At.After(before.At) {
		t.Errorf("%+v, before %+v", after, before)
	}
	if err := s.Flush(ctx); err != nil || s.Client.DBSize(ctx).Val() != 0 {
		t.Errorf("flushed: %v", err)
	}
	s.Close()
	select {
	case <-s.gone:
	default:
		t.Error("the process goes on")
	}
}

func TestNoBinary(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if s, err := Start(); !errors.Is(err, ErrNoBinary) {
		t.Fatalf("%v, %v", s, err)
	}
}

func TestParse(t *testing.T) {
	info := map[string]map[string]string{
		"CPU":     {"used_cpu_user_main_thread": "1.5", "used_cpu_sys_main_thread": "0.25"},
		"Stats":   {"total_commands_processed": "7", "total_net_output_bytes": "8"},
		"Memory":  {"used_memory": "9", "mem_clients_normal": "10"},
		"Clients": {"connected_clients": "11"},
	}
	got, err := parse(info, time.Time{})
	if want := (Account{CPU: 1750 * time.Millisecond, Commands: 7, BytesOut: 8, Memory: 9, ClientBytes: 10, Clients: 11}); err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	delete(info["Stats"], "total_commands_processed")
	if _, err := parse(info, time.Time{}); err == nil || !strings.Contains(err.Error(), "total_commands_processed") {
		t.Fatalf("a field that is missing: %v", err)
	}
}
