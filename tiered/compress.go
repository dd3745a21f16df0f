package tiered

import (
	"errors"
	"fmt"

	"github.com/nearcache/nearcache/codec"
)

// compress replaces the payload, which begins at start, by the compressor's number
// and what that makes of it, if the payload is large and shrinks.
func (t *Tiers[V]) compress(buf []byte, start int, h *codec.Header) (_ []byte, err error) {
	c, payload := t.cfg.Compressor, buf[start:]
	if c == nil || len(payload) < codec.CompressAbove {
		return buf, nil
	}
	defer recovered(&err)
	small := make([]byte, start, len(buf))
	copy(small, buf)
	small = c.Compress(append(small, c.ID()), payload)
	if len(small) >= len(buf) {
		return buf, nil
	}
	h.Compressed = true
	return small, nil
}

// decompress returns the payload that compress was given. What it would take more
// than MaxValueBytes to hold was not written by an instance of this configuration.
func (t *Tiers[V]) decompress(data []byte) (_ []byte, err error) {
	c := t.cfg.Compressor
	switch {
	case c == nil:
		return nil, errors.New("written with a Compressor, read without")
	case len(data) == 0 || data[0] != c.ID():
		return nil, fmt.Errorf("written with another Compressor than %d", c.ID())
	}
	defer recovered(&err)
	payload, err := c.Decompress(nil, data[1:], t.cfg.MaxValueBytes)
	if err != nil {
		return nil, fmt.Errorf("decompressing: %w", err)
	}
	if n := len(payload); n > t.cfg.MaxValueBytes {
		return nil, fmt.Errorf("%d bytes decompressed, limit %d (MaxValueBytes)", n, t.cfg.MaxValueBytes)
	}
	return payload, nil
}
