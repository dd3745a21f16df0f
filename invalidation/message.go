package invalidation

import (
	"fmt"
	"strconv"
	"strings"
)

// Message is an announcement as the scripts write it, on the channel and in
// the log alike: "1 SEQ PREV EPOCH OP BODY".
type Message struct {
	Seq   uint64 // the change's number; 0 for a wake-up, which is no change
	Prev  uint64 // the number before it in this epoch
	Epoch string
	Op    string
	Keys  []string // or tags, where Op says so
}

// version opens every message. A reader refuses others: it then finds a gap,
// and a gap that cannot be read is distrusted, never skipped.
const version = "1"

// Parse reads a message. Whatever bytes it is given, it answers with a message
// or an error.
func Parse(payload string) (Message, error) {
	f := strings.SplitN(payload, " ", 6)
	if len(f) != 6 {
		return Message{}, fmt.Errorf("announcement has %d fields, want 6", len(f))
	}
	if f[0] != version {
		return Message{}, fmt.Errorf("announcement of version %.16q, want %s", f[0], version)
	}
	m := Message{Epoch: f[3], Op: f[4]}
	var err error
	if m.Seq, err = strconv.ParseUint(f[1], 10, 63); err != nil {
		return Message{}, fmt.Errorf("announcement's seq: %w", err)
	}
	if m.Prev, err = strconv.ParseUint(f[2], 10, 63); err != nil {
		return Message{}, fmt.Errorf("announcement's prev: %w", err)
	}
	if m.Seq < m.Prev {
		return Message{}, fmt.Errorf("announcement's seq %d is below its prev %d", m.Seq, m.Prev)
	}
	m.Keys, err = parseBody(f[5])
	return m, err
}

// parseBody reads keys written as netstrings: "5:hello,".
func parseBody(body string) ([]string, error) {
	var keys []string
	for body != "" {
		digits, rest, ok := strings.Cut(body, ":")
		n, err := strconv.ParseUint(digits, 10, 31)
		if !ok || err != nil {
			return nil, fmt.Errorf("announcement's key %d has no readable length", len(keys))
		}
		if uint64(len(rest)) <= n || rest[n] != ',' {
			return nil, fmt.Errorf("announcement's key %d is not %d bytes long", len(keys), n)
		}
		keys = append(keys, rest[:n])
		body = rest[n+1:]
	}
	return keys, nil
}
