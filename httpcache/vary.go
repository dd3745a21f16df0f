package httpcache

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
)

// varyNames returns the names of the request fields that a response varies on, sorted,
// in canonical form, each once. all reports Vary: *, which matches no request (RFC
// 9111, 4.1).
func varyNames(h http.Header) (names []string, all bool) {
	for _, line := range h["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			switch name = strings.TrimSpace(name); name {
			case "":
			case "*":
				return nil, true
			default:
				names = append(names, http.CanonicalHeaderKey(name))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), false
}

// newIndex returns the index of a resource that varies on names.
func newIndex(names []string) *entry {
	return &entry{Kind: kindIndex, Names: names, Generation: rand.Text()}
}

// covers reports whether requests that are told apart by the index are told apart by
// names.
func (e *entry) covers(names []string) bool {
	for _, name := range names {
		if !slices.Contains(e.Names, name) {
			return false
		}
	}
	return true
}

// variantKey returns the key of the variant that answers r. Its fields are hashed:
// they may be long, and secret.
func (e *entry) variantKey(key string, r *http.Request) string {
	var space [512]byte
	b := space[:0]
	for _, name := range e.Names {
		if name == "Host" {
			b = append(append(b, r.Host...), 0)
			continue
		}
		lines, ok := r.Header[name]
		if !ok {
			b = append(b, 1)
		}
		b = append(appendNormal(b, lines), 0)
	}
	sum := sha256.Sum256(b)
	var text [512]byte
	k := append(append(text[:0], key...), 0)
	k = append(append(k, e.Generation...), 0)
	return string(base64.RawURLEncoding.AppendEncode(k, sum[:]))
}

// appendNormal appends the lines of a field as one list, without the white space
// around its commas: what RFC 9111, 4.1 lets a cache take for equal. White space and
// commas in quotes are left alone.
func appendNormal(b []byte, lines []string) []byte {
	for i, line := range lines {
		if i > 0 {
			b = append(b, ',')
		}
		quoted, start := false, len(b)
		for j := 0; j < len(line); j++ {
			c := line[j]
			switch {
			case quoted && c == '\\' && j+1 < len(line):
				b = append(b, c)
				j++
				c = line[j]
			case c == '"':
				quoted = !quoted
			case !quoted && c == ',':
				b = trimRight(b, start)
			case !quoted && (c == ' ' || c == '\t') && (len(b) == start || b[len(b)-1] == ','):
				continue
			}
			b = append(b, c)
		}
		b = trimRight(b, start)
	}
	return b
}

func trimRight(b []byte, start int) []byte {
	for len(b) > start && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
