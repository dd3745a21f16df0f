package faultnet

import (
	"bytes"
	"strconv"
)

// splitter cuts a server's stream of RESP2 and RESP3 into top-level frames,
// however the stream is chunked.
type splitter struct {
	buf    []byte
	opaque bool // a replica's stream: a snapshot follows, which is no RESP
}

type frame struct {
	bytes   []byte
	message bool // a Pub/Sub message
}

// split returns the frames that are complete with chunk. What follows them
// waits for the next chunk.
func (s *splitter) split(chunk []byte) (frames []frame) {
	s.buf = append(s.buf, chunk...)
	for {
		if s.opaque {
			rest := bytes.Clone(s.buf)
			s.buf = s.buf[:0]
			return append(frames, frame{bytes: rest})
		}
		n := length(s.buf)
		if n == 0 {
			return frames
		}
		whole := bytes.Clone(s.buf[:n])
		frames = append(frames, frame{whole, message(whole)})
		s.opaque = bytes.Contains(whole, []byte("$EOF:"))
		s.buf = s.buf[n:]
	}
}

// message reports whether a frame is an array or push that begins with the
// string "message".
func message(b []byte) bool {
	return (b[0] == '*' || b[0] == '>') && bytes.Contains(b[:min(len(b), 24)], []byte("\r\n$7\r\nmessage\r\n"))
}

// length returns the size of the frame that b begins with, or 0 if it is not
// complete.
func length(b []byte) int {
	end := bytes.Index(b, []byte("\r\n"))
	if end < 0 {
		return 0
	}
	head := end + 2
	n, err := strconv.Atoi(string(b[1:end]))
	if err != nil || n < 0 {
		return head // a simple type, or a nil
	}
	switch b[0] {
	case '$', '=', '!': // a string, whose length counts its bytes
		if len(b) < head+n+2 {
			return 0
		}
		return head + n + 2
	case '*', '>', '~': // elements
		return elements(b, head, n)
	case '%', '|': // pairs
		return elements(b, head, 2*n)
	}
	return head // a number
}

func elements(b []byte, at, n int) int {
	for range n {
		size := length(b[at:])
		if size == 0 {
			return 0
		}
		at += size
	}
	return at
}
