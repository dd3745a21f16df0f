package codec

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Codec encodes values of type V. Implementations must be safe for concurrent
// use.
type Codec[V any] interface {
	// ID names the codec in every envelope; a value under another ID is loaded
	// anew, not decoded. 0 to 63 are this package's, 64 to 255 are yours.
	ID() byte
	// Append appends the encoding of v to dst, as append does.
	Append(dst []byte, v V) ([]byte, error)
	// Decode returns the value that data encodes. It must not keep data, and
	// must return an error rather than panic on bytes that are not its own.
	Decode(data []byte) (V, error)
}

const (
	idMsgpack byte = 1
	idJSON    byte = 2
	idRaw     byte = 3
)

// JSON returns a codec on encoding/json.
func JSON[V any]() Codec[V] { return jsonCodec[V]{} }

type jsonCodec[V any] struct{}

func (jsonCodec[V]) ID() byte { return idJSON }

func (jsonCodec[V]) Append(dst []byte, v V) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return dst, fmt.Errorf("codec: %w", err)
	}
	return append(dst, b...), nil
}

func (jsonCodec[V]) Decode(data []byte) (v V, err error) {
	if err = json.Unmarshal(data, &v); err != nil {
		err = fmt.Errorf("codec: %w", err)
	}
	return v, err
}

// Bytes returns a codec that stores byte slices as they are.
func Bytes() Codec[[]byte] { return bytesCodec{} }

type bytesCodec struct{}

func (bytesCodec) ID() byte                                    { return idRaw }
func (bytesCodec) Append(dst []byte, v []byte) ([]byte, error) { return append(dst, v...), nil }
func (bytesCodec) Decode(data []byte) ([]byte, error)          { return slices.Clone(data), nil }

// String returns a codec that stores strings as they are.
func String() Codec[string] { return stringCodec{} }

type stringCodec struct{}

func (stringCodec) ID() byte                                    { return idRaw }
func (stringCodec) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }
func (stringCodec) Decode(data []byte) (string, error)          { return string(data), nil }
