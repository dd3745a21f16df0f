package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nearcache/nearcache/codec"
	"github.com/nearcache/nearcache/codec/s2"
	"github.com/nearcache/nearcache/l2"
	"github.com/redis/go-redis/v9"
	"github.com/vmihailenco/msgpack/v5"
)

// stored is what Redis has of a key, as somebody sees it who keeps nothing.
type stored struct {
	Key     string   `json:"key"`
	Shard   int      `json:"shard"`
	Holds   string   `json:"holds"`             // nothing, value, not found, lease or garbage
	Refused string   `json:"refused,omitempty"` // why readers do not take it
	Bytes   int      `json:"bytes,omitempty"`   // in Redis
	Codec   string   `json:"codec,omitempty"`
	Packed  bool     `json:"compressed,omitempty"`
	Sealed  bool     `json:"sealed,omitempty"`
	Age     float64  `json:"age_ms,omitempty"`  // since the load or write began
	Left    float64  `json:"left_ms,omitempty"` // of its life, or of the lease
	Birth   uint64   `json:"birth,omitempty"`
	Tags    []string `json:"tags,omitempty"`
	Mark    string   `json:"validator,omitempty"`
	Claim   string   `json:"claim,omitempty"` // who loads it again, or must not

	Value      json.RawMessage `json:"value,omitempty"`
	Base64     []byte          `json:"value_base64,omitempty"`
	Unreadable string          `json:"unreadable,omitempty"` // why there is no value here

	record  l2.Record
	known   bool // the record
	codecID byte
	packer  byte // number of the Compressor
}

var codecs = map[byte]string{1: "msgpack", 2: "json", 3: "bytes"}

// look reads what Redis has of a key. It changes nothing.
func (n *namespace) look(ctx context.Context, key string) (*stored, error) {
	reply, err := n.store.Read(ctx, key, "", 0)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", key, err)
	}
	s := &stored{Key: key, Shard: n.store.Shard(key), Holds: "garbage", record: reply.Record, known: reply.Known}
	switch reply.State {
	case l2.Absent:
		s.Holds, s.Refused = "nothing", "Redis does not have it"
		return s, nil
	case l2.Held:
		s.Holds, s.Refused = "lease", "an instance loads it"
		left, _ := n.store.Left(ctx, key)
		s.Left = ms(left)
		return s, nil
	case l2.Foreign:
		s.Refused = "a Redis type other than string"
		return s, nil
	}
	s.Bytes = len(reply.Data)
	h, payload, err := codec.Open(reply.Data)
	if err != nil {
		s.Refused = err.Error()
		return s, nil
	}
	now, err := n.clock(ctx, key)
	if err != nil {
		return nil, err
	}
	s.describe(h, now)
	s.Refused, err = n.refusal(ctx, s, h, now)
	if !h.Negative && err == nil {
		s.decode(h, payload)
	}
	return s, err
}

// clock is that of the server which has key, or else ours.
func (n *namespace) clock(ctx context.Context, key string) (time.Time, error) {
	server, ok := n.client.(*redis.Client)
	if cluster, is := n.client.(*redis.ClusterClient); is {
		var err error
		if server, err = cluster.MasterForKey(ctx, n.tags()[n.store.Shard(key)]+":seq"); err != nil {
			return time.Time{}, err
		}
	} else if !ok {
		return time.Time{}, fmt.Errorf("a client of type %T", n.client)
	}
	now, err := server.Time(ctx).Result()
	if _, reply := errors.AsType[redis.Error](err); reply {
		return time.Now(), nil // the user may not ask
	}
	return now, err
}

// describe takes over what an envelope says.
func (s *stored) describe(h codec.Header, now time.Time) {
	s.Holds, s.codecID = "value", h.Codec
	if h.Negative {
		s.Holds = "not found"
	}
	if s.Codec = codecs[h.Codec]; s.Codec == "" {
		s.Codec = fmt.Sprintf("codec %d", h.Codec)
	}
	s.Packed, s.Sealed, s.Birth, s.Tags, s.Mark = h.Compressed, h.Sealed, h.Birth, h.Tags, h.Validator
	s.Age = ms(time.Duration(now.UnixMicro()-int64(h.Birth)) * time.Microsecond)
	s.Left = ms(time.Duration(h.Expires-now.UnixMilli()) * time.Millisecond)
	if h.Claim.Kind == codec.NoClaim || h.Claim.Until < now.UnixMilli() {
		return
	}
	end := short(time.Duration(h.Claim.Until-now.UnixMilli()) * time.Millisecond)
	if h.Claim.Kind == codec.BackOff {
		s.Claim = "its load failed: nobody tries again for " + end
	} else {
		s.Claim = "an instance loads it again, for at most " + end
	}
}

// refusal tells by which rule readers do not take a value, as docs/protocol.md has them.
func (n *namespace) refusal(ctx context.Context, s *stored, h codec.Header, now time.Time) (string, error) {
	switch {
	case !s.known:
		return "the shard's record is missing or cannot be read", nil
	case h.Birth < s.record.Cleared:
		return "it was cleared away", nil
	}
	if len(h.Tags) > 0 {
		seqs, err := n.store.Markers(ctx, s.Shard, h.Tags)
		if err != nil {
			return "", fmt.Errorf("reading the markers of %q: %w", s.Key, err)
		}
		for i, seq := range seqs {
			if seq > h.Birth {
				return fmt.Sprintf("its tag %.64q was invalidated since", h.Tags[i]), nil
			}
		}
	}
	switch {
	case h.Expired:
		return "it was expired, and may stand in only", nil
	case h.Expires <= now.UnixMilli():
		return "its life is over", nil
	}
	return "", nil
}

// decode takes over the payload, as far as it can be read here.
func (s *stored) decode(h codec.Header, payload []byte) {
	if h.Sealed {
		s.Unreadable = "sealed: only instances have the keys"
		return
	}
	if h.Compressed && len(payload) > 0 {
		c := s2.Compressor{}
		if s.packer = payload[0]; s.packer != c.ID() {
			s.Unreadable = "compressed, and not with codec/s2"
			return
		}
		var err error
		if payload, err = c.Decompress(nil, payload[1:], 512<<20); err != nil {
			s.Unreadable = "compressed, and damaged: " + err.Error()
			return
		}
	}
	var err error
	switch s.Codec {
	case "msgpack":
		s.Value, err = jsonOfMsgpack(payload)
	case "json":
		if s.Value = bytes.Clone(payload); !json.Valid(payload) {
			s.Value, err = nil, errors.New("not JSON")
		}
	default:
		s.Base64 = bytes.Clone(payload)
	}
	if err != nil {
		s.Base64, s.Unreadable = bytes.Clone(payload), s.Codec+" that cannot be read: "+err.Error()
	}
}

// loose is any value of MessagePack.
type loose struct{ v any }

func (l *loose) DecodeMsgpack(dec *msgpack.Decoder) (err error) {
	dec.SetMapDecoder(func(d *msgpack.Decoder) (any, error) { return d.DecodeUntypedMap() })
	l.v, err = dec.DecodeInterfaceLoose()
	return err
}

// jsonOfMsgpack writes MessagePack as JSON. Keys of maps become text, and bytes that
// are text too.
func jsonOfMsgpack(data []byte) (_ json.RawMessage, err error) {
	defer func() {
		if p := recover(); p != nil { // a map with a key that cannot be one in Go
			err = fmt.Errorf("%v", p)
		}
	}()
	l, err := codec.Msgpack[loose]().Decode(data)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err = enc.Encode(plain(l.v))
	return bytes.TrimSpace(b.Bytes()), err
}

// plain replaces what JSON does not have.
func plain(v any) any {
	switch v := v.(type) {
	case map[any]any:
		m := make(map[string]any, len(v))
		for key, value := range v {
			m[fmt.Sprint(plain(key))] = plain(value)
		}
		return m
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case []byte:
		if utf8.Valid(v) {
			return string(v)
		}
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
	}
	return v
}

// String tells what Redis has in a few lines.
func (s *stored) String() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-9s"+format+"\n", append([]any{name}, args...)...)
	}
	verdict := "readers take it"
	if s.Refused != "" {
		verdict = "refused: " + s.Refused
	}
	line("Redis", "%s, %s", s.Holds, verdict)
	switch s.Holds {
	case "lease":
		line("", "ends in %s", short(time.Duration(s.Left*1e6)))
	case "value", "not found":
		form := s.Codec
		if s.Packed {
			form += ", compressed"
		}
		if s.Sealed {
			form += ", sealed"
		}
		line("", "%d bytes: %s", s.Bytes, form)
		line("", "age %s, %s left", short(time.Duration(s.Age*1e6)), short(time.Duration(s.Left*1e6)))
	}
	if len(s.Tags) > 0 {
		line("tags", "%q", s.Tags)
	}
	if s.Mark != "" {
		line("validator", " %q", s.Mark)
	}
	if s.Claim != "" {
		line("claim", "%s", s.Claim)
	}
	return b.String()
}
