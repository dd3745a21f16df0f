package tiered

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nearcache/nearcache/codec"
)

// fill writes what was loaded under a lease or claim to L2, where it lives for
// life, off the caller's path. It publishes nothing unless somebody waits.
func (t *Tiers[V]) fill(q Query[V], g grant[V], c content[V], life time.Duration) {
	if g.token == "" || life < time.Millisecond {
		t.giveBack(q.Key, &g, 0)
		return
	}
	t.running.Go(func() {
		kept, err := t.fillNow(q, g, c, life)
		switch {
		case err != nil:
			t.counters.redisErrors.Add(1)
		case !kept:
			t.counters.refusedFills.Add(1)
		}
	})
}

func (t *Tiers[V]) fillNow(q Query[V], g grant[V], c content[V], life time.Duration) (kept bool, err error) {
	ctx := context.Background() // the store bounds it
	h, err := t.header(q.Key, c, g.record.Epoch, g.record.Seq, life)
	if err != nil {
		return false, err
	}
	expiry := t.expiry(life, q.TTL, c.err != nil)
	if whole := life + max(q.TTL.StaleIfError, 0); len(c.tags) > 0 && whole > g.record.Life {
		// Markers since its birth may not live as long as this value. The next one's will.
		if _, err := t.l2.Prolong(ctx, t.shardOf(q.Key).index, 2*whole); err != nil {
			return false, err
		}
		return true, t.release(ctx, q.Key, &g, 0)
	}
	if c.unmodified && g.claimed.Data != nil {
		if header, ok := renewed(g.claimed.Data, h); ok {
			t.writes(q.Key, header)
			return t.l2.Renew(ctx, q.Key, g.token, g.record.Epoch, header, expiry)
		}
	}
	envelope, err := t.pack(q.Key, c, &h)
	if err != nil {
		t.events.fault("loaded value", err)
		return true, t.release(ctx, q.Key, &g, 0)
	}
	t.writes(q.Key, envelope)
	return t.l2.Fill(ctx, q.Key, g.token, g.record.Epoch, envelope, expiry)
}

// renewed returns the header h for the value that old is the envelope of; ok is
// false if it needs a new envelope.
func renewed(old []byte, h codec.Header) (header []byte, ok bool) {
	was, _, err := codec.Open(old)
	if err != nil || was.Validator != h.Validator || !slices.Equal(was.Tags, h.Tags) || was.Negative {
		return nil, false
	}
	h.Compressed, h.Sealed = was.Compressed, was.Sealed
	header = slices.Clone(old[:codec.HeaderSize])
	codec.Rewrite(header, h)
	return header, true
}

// giveBack returns a lease or claim that will not be filled, off the caller's path.
// Nobody can claim the value again before backOff is over.
func (t *Tiers[V]) giveBack(key string, g *grant[V], backOff time.Duration) {
	if g.token == "" {
		return
	}
	given := *g
	g.token = ""
	t.running.Go(func() {
		// If it fails the lease ends by itself.
		_ = t.release(context.Background(), key, &given, backOff)
	})
}

func (t *Tiers[V]) release(ctx context.Context, key string, g *grant[V], backOff time.Duration) error {
	if g.claimed.Data == nil {
		t.writes(key, nil)
	}
	return t.l2.Release(ctx, key, g.token, g.record.Epoch, backOff)
}

// header says of content what its envelope needs. birth is the number of the newest
// change that its load or write is known to have come after.
func (t *Tiers[V]) header(key string, c content[V], epoch string, birth uint64, life time.Duration) (codec.Header, error) {
	id, err := strconv.ParseUint(epoch, 16, 64)
	if err != nil {
		return codec.Header{}, fmt.Errorf("epoch %q is no 16 hexadecimal digits: %w", epoch, err)
	}
	h := codec.Header{
		Codec: t.cfg.Codec.ID(), Negative: c.err != nil, Cost: c.cost, Epoch: id, Birth: birth, Validator: c.validator, Tags: c.tags,
		Expires: (t.shardOf(key).clock() + life.Microseconds()) / 1000,
	}
	if len(h.Validator) > codec.MaxValidator {
		t.events.fault("validator", fmt.Errorf("the validator of key %.64q is %d bytes, must be %d at most: not kept",
			key, len(h.Validator), codec.MaxValidator))
		h.Validator = ""
	}
	return h, nil
}

// pack writes content into an envelope, and says in h what became of it.
func (t *Tiers[V]) pack(key string, c content[V], h *codec.Header) ([]byte, error) {
	buf := codec.Begin(make([]byte, 0, 256), h.Validator, h.Tags)
	start := len(buf)
	if c.err == nil {
		var err error
		if buf, err = encode(t.cfg.Codec, buf, c.value); err != nil {
			return nil, err
		}
	}
	if n := len(buf) - start; n > t.cfg.MaxValueBytes {
		return nil, &SizeError{Key: key, Bytes: n, Limit: t.cfg.MaxValueBytes}
	}
	buf, err := t.compress(buf, start, h)
	if err != nil {
		return nil, err
	}
	if buf, err = t.seal(key, buf, start, h); err != nil {
		return nil, err
	}
	codec.Finish(buf, *h)
	return buf, nil
}

// SizeError says that a value is larger than it may be in L2.
type SizeError struct {
	Key          string
	Bytes, Limit int
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("value of key %.64q is %d bytes encoded, limit %d: raise MaxValueBytes or store less",
		e.Key, e.Bytes, e.Limit)
}

// encode and decode keep a panic of a user's codec from the process: it is an
// error of this one value.
func encode[V any](c codec.Codec[V], dst []byte, v V) (_ []byte, err error) {
	defer recovered(&err)
	if dst, err = c.Append(dst, v); err != nil {
		return nil, &CodecError{err}
	}
	return dst, nil
}

func decode[V any](c codec.Codec[V], data []byte) (_ V, err error) {
	defer recovered(&err)
	return c.Decode(data)
}

func recovered(err *error) {
	if p := recover(); p != nil {
		*err = &CodecError{fmt.Errorf("codec panicked: %v", p)}
	}
}

// CodecError says that a value could not be encoded.
type CodecError struct{ Err error }

func (e *CodecError) Error() string { return e.Err.Error() }
func (e *CodecError) Unwrap() error { return e.Err }
