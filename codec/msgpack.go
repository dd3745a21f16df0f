package codec

import (
	"bytes"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"
)

// Msgpack returns a codec on MessagePack, the default. If V or *V brings the
// methods that github.com/tinylib/msgp generates, they are used; otherwise
// github.com/vmihailenco/msgpack encodes by reflection, with compact integers
// and `msgpack` field tags. A time keeps its instant and loses its zone.
//
// Bytes are validated before they are decoded: that decoder trusts declared
// lengths, and recurses as deep as the bytes say.
func Msgpack[V any]() Codec[V] {
	var v V
	_, byValue := any(v).(marshaler)
	_, byPointer := any(&v).(marshaler)
	if _, ok := any(&v).(unmarshaler); ok && (byValue || byPointer) {
		return generated[V]{}
	}
	return reflected[V]{}
}

// marshaler and unmarshaler are what tinylib/msgp generates.
type marshaler interface {
	MarshalMsg(b []byte) ([]byte, error)
}

type unmarshaler interface {
	UnmarshalMsg(b []byte) ([]byte, error)
}

type generated[V any] struct{}

func (generated[V]) ID() byte { return idMsgpack }

func (generated[V]) Append(dst []byte, v V) ([]byte, error) {
	// The method set of *V includes that of V.
	b, err := any(&v).(marshaler).MarshalMsg(dst)
	if err != nil {
		return dst, fmt.Errorf("codec: %w", err)
	}
	return b, nil
}

func (generated[V]) Decode(data []byte) (v V, err error) {
	if err := validate(data); err != nil {
		return v, err
	}
	if _, err := any(&v).(unmarshaler).UnmarshalMsg(data); err != nil {
		var zero V
		return zero, fmt.Errorf("codec: %w", err)
	}
	return v, nil
}

type reflected[V any] struct{}

func (reflected[V]) ID() byte { return idMsgpack }

func (reflected[V]) Append(dst []byte, v V) ([]byte, error) {
	enc := msgpack.GetEncoder()
	defer msgpack.PutEncoder(enc)
	buf := bytes.NewBuffer(dst)
	enc.Reset(buf) // clears all flags: options come after it
	enc.UseCompactInts(true)
	if err := enc.Encode(v); err != nil {
		return dst, fmt.Errorf("codec: %w", err)
	}
	return buf.Bytes(), nil
}

func (reflected[V]) Decode(data []byte) (V, error) {
	var v V // always a fresh one: decoding merges into what is there
	if err := validate(data); err != nil {
		return v, err
	}
	if err := msgpack.Unmarshal(data, &v); err != nil {
		var zero V
		return zero, fmt.Errorf("codec: %w", err)
	}
	return v, nil
}
