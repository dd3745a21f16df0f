package tiered

import (
	"encoding/binary"
	"errors"

	"github.com/nearcache/nearcache/codec"
)

// seal replaces the payload, which begins at start, by what the seal makes of it.
// There is always one, also of "not found", which would be easy to claim otherwise.
func (t *Tiers[V]) seal(key string, buf []byte, start int, h *codec.Header) (_ []byte, err error) {
	if t.cfg.Seal == nil {
		return buf, nil
	}
	h.Sealed = true
	out := append(make([]byte, 0, len(buf)+64), buf[:start]...)
	return t.cfg.Seal.Seal(out, buf[start:], t.purpose(key, *h, buf[codec.HeaderSize:start]))
}

// unseal returns the payload that seal was given, out of the envelope data.
func (t *Tiers[V]) unseal(key string, data, payload []byte, h codec.Header) ([]byte, error) {
	switch s := t.cfg.Seal; {
	case s == nil && h.Sealed:
		return nil, errors.New("written with a Seal, read without")
	case s == nil:
		return payload, nil
	case !h.Sealed:
		return nil, errors.New("written without a Seal, read with one")
	default:
		return s.Open(nil, payload, t.purpose(key, h, data[codec.HeaderSize:len(data)-len(payload)]))
	}
}

// purpose says what a payload is sealed for: all that decides what is read out of it,
// and what it is the value of. What is renewed without the payload is not part of it.
func (t *Tiers[V]) purpose(key string, h codec.Header, labels []byte) []byte {
	kind := byte(0)
	if h.Negative {
		kind |= 1
	}
	if h.Compressed {
		kind |= 2
	}
	p := []byte{1, t.cfg.Codec.ID(), kind}
	for _, text := range []string{t.cfg.Name, key} {
		p = append(binary.AppendUvarint(p, uint64(len(text))), text...)
	}
	return append(p, labels...)
}
