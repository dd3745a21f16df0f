package tiered

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nearcache/nearcache/codec"
)

// fill writes what was loaded under a lease to L2, off the caller's path. It
// publishes nothing unless somebody waits for the lease.
func (t *Tiers[V]) fill(q Query[V], a Answer[V], g grant) {
	life := q.TTL.L2
	if a.Negative {
		life = min(life, q.TTL.Negative)
	}
	if life = t.jittered(life); g.token == "" || life < time.Millisecond {
		t.giveBack(q.Key, g)
		return
	}
	t.running.Go(func() {
		ctx := context.Background() // the store bounds it
		envelope, err := t.pack(q.Key, a)
		if err == nil {
			err = t.seal(envelope, q.Key, a.Negative, g.record.Epoch, g.record.Seq, life)
		}
		if err != nil {
			t.faults.note("loaded value", err)
			_ = t.l2.Release(ctx, q.Key, g.token, g.record.Epoch)
			return
		}
		kept, err := t.l2.Fill(ctx, q.Key, g.token, g.record.Epoch, envelope, life)
		switch {
		case err != nil:
			t.counters.redisErrors.Add(1)
		case !kept:
			t.counters.refusedFills.Add(1)
		}
	})
}

// giveBack returns a lease that will not be filled, off the caller's path.
func (t *Tiers[V]) giveBack(key string, g grant) {
	if g.token == "" {
		return
	}
	t.running.Go(func() {
		// If it fails the lease ends by itself.
		_ = t.l2.Release(context.Background(), key, g.token, g.record.Epoch)
	})
}

// pack encodes a value, with room for the envelope's header before it.
func (t *Tiers[V]) pack(key string, a Answer[V]) (_ []byte, err error) {
	buf := codec.Begin(make([]byte, 0, 256))
	header := len(buf)
	if !a.Negative {
		if buf, err = encode(t.cfg.Codec, buf, a.Value); err != nil {
			return nil, err
		}
	}
	if n := len(buf) - header; n > t.cfg.MaxValueBytes {
		return nil, &SizeError{Key: key, Bytes: n, Limit: t.cfg.MaxValueBytes}
	}
	return buf, nil
}

// seal writes the header of a packed value. birth is the number of the newest
// change that its load or write is known to have come after.
func (t *Tiers[V]) seal(buf []byte, key string, negative bool, epoch string, birth uint64, life time.Duration) error {
	id, err := strconv.ParseUint(epoch, 16, 64)
	if err != nil {
		return fmt.Errorf("epoch %q is no 16 hexadecimal digits: %w", epoch, err)
	}
	codec.Finish(buf, codec.Header{
		Codec: t.cfg.Codec.ID(), Negative: negative, Epoch: id, Birth: birth,
		Expires: (t.shardOf(key).clock() + life.Microseconds()) / 1000,
	})
	return nil
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
