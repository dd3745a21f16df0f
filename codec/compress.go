package codec

// Compressor makes encoded values smaller for Redis. Implementations must be safe
// for concurrent use. That on S2 is a module of its own,
// github.com/nearcache/nearcache/codec/s2.
type Compressor interface {
	// ID is written before what Compress appended; a value under another ID is loaded
	// anew, not decompressed. 0 to 63 are this project's, 64 to 255 are yours.
	ID() byte
	// Compress appends src, compressed, to dst, as append does.
	Compress(dst, src []byte) []byte
	// Decompress appends what src was made of to dst. It must return an error rather
	// than panic on bytes that are not Compress's own, and rather than append more
	// than limit bytes: a few bytes in Redis must not fill the memory.
	Decompress(dst, src []byte, limit int) ([]byte, error)
}

// CompressAbove is the size in bytes from which on encoded values are worth the time
// that a Compressor takes.
const CompressAbove = 1024
