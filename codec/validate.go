package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed says that bytes are not one well-formed MessagePack value whose
// declared lengths they carry.
var ErrMalformed = errors.New("malformed msgpack")

// maxDepth bounds nesting: the decoder recurses, and a stack that overflows
// cannot be recovered from.
const maxDepth = 64

// validate reports whether data is exactly one value, nested at most maxDepth
// deep, with every declared length within the bytes that remain. It neither
// recurses nor allocates on success.
func validate(data []byte) error {
	var open [maxDepth]uint64 // values still to come at each level
	depth, pos := 0, 0
	open[0] = 1
	for {
		for open[depth] == 0 {
			if depth == 0 {
				if pos != len(data) {
					return fmt.Errorf("%w: %d bytes follow the value", ErrMalformed, len(data)-pos)
				}
				return nil
			}
			depth--
		}
		open[depth]--
		if pos >= len(data) {
			return fmt.Errorf("%w: ends at byte %d inside a value", ErrMalformed, pos)
		}
		skip, children, ok := head(data[pos:])
		left := uint64(len(data) - pos)
		if !ok || skip > left || children > left-skip {
			return fmt.Errorf("%w: byte 0x%02x at offset %d declares more than the %d bytes that remain",
				ErrMalformed, data[pos], pos, left)
		}
		pos += int(skip)
		if children > 0 {
			if depth++; depth == maxDepth {
				return fmt.Errorf("%w: nested deeper than %d at offset %d", ErrMalformed, maxDepth, pos)
			}
			open[depth] = children
		}
	}
}

// head reads the head of the value that data begins with: the bytes to skip,
// its own and its payload's, and the values nested in it. ok is false for the
// reserved byte and for a head that is cut off.
func head(data []byte) (skip, children uint64, ok bool) {
	switch b := data[0]; {
	case b <= 0x7f || b >= 0xe0 || b == 0xc0 || b == 0xc2 || b == 0xc3:
		return 1, 0, true
	case b <= 0x8f: // fixmap
		return 1, 2 * uint64(b&0x0f), true
	case b <= 0x9f: // fixarray
		return 1, uint64(b & 0x0f), true
	case b <= 0xbf: // fixstr
		return 1 + uint64(b&0x1f), 0, true
	case b == 0xc1:
		return 0, 0, false
	case b <= 0xc6: // bin 8, 16, 32
		return sized(data, 1<<(b-0xc4), 0)
	case b <= 0xc9: // ext 8, 16, 32: one byte of type follows the length
		return sized(data, 1<<(b-0xc7), 1)
	case b <= 0xcb: // float 32, 64
		return 1 + 4<<(b-0xca), 0, true
	case b <= 0xcf: // uint 8 to 64
		return 1 + 1<<(b-0xcc), 0, true
	case b <= 0xd3: // int 8 to 64
		return 1 + 1<<(b-0xd0), 0, true
	case b <= 0xd8: // fixext 1 to 16
		return 2 + 1<<(b-0xd4), 0, true
	case b <= 0xdb: // str 8, 16, 32
		return sized(data, 1<<(b-0xd9), 0)
	case b <= 0xdd: // array 16, 32
		n, ok := length(data, 2<<(b-0xdc))
		return 1 + 2<<(b-0xdc), n, ok
	default: // map 16, 32
		n, ok := length(data, 2<<(b-0xde))
		return 1 + 2<<(b-0xde), 2 * n, ok
	}
}

// sized is a head whose payload's length stands in the next width bytes.
func sized(data []byte, width int, extra uint64) (skip, children uint64, ok bool) {
	n, ok := length(data, width)
	return 1 + uint64(width) + extra + n, 0, ok
}

func length(data []byte, width int) (uint64, bool) {
	if len(data) < 1+width {
		return 0, false
	}
	switch data = data[1:]; width {
	case 1:
		return uint64(data[0]), true
	case 2:
		return uint64(binary.BigEndian.Uint16(data)), true
	default:
		return uint64(binary.BigEndian.Uint32(data)), true
	}
}
