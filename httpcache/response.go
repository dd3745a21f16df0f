package httpcache

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/codec"
)

type kind uint8

const (
	kindResponse kind = iota + 1
	kindIndex         // of the variants of a resource
	kindPass          // there is nothing to share: each request runs the handler
)

// entry is what the cache stores. It is shared, and never changes once it is stored.
type entry struct {
	Kind kind

	// Of a response.
	Status                int
	Header                http.Header
	Body                  []byte
	Born                  int64         // when its age was zero, in Unix nanoseconds
	Life                  time.Duration // freshness, counted from Born
	SWR, SIE              time.Duration // counted from the end of that
	MadeTag               bool          // its ETag is ours: the handler does not know it
	Authorization, Cookie bool          // requests with these may have it
	NoStale               bool          // RFC 9111, 4.2.4 forbids to answer it stale

	// Of an index.
	Names      []string
	Generation string

	once bool // it is an answer to those who waited for it, and not stored

	// Made of the above by prepare.
	fields []field // all of Header
	etag   string
	// modified is when it was modified at the latest, as If-Modified-Since asks: without
	// Last-Modified, when it was made (RFC 9111, 4.3.2).
	modified string
}

type field struct {
	name   string
	values []string
}

// prepare makes what each hit would have to make.
func (e *entry) prepare() *entry {
	e.fields = make([]field, 0, len(e.Header))
	for name, values := range e.Header {
		// Clipped, as all answers share them and what is around us may append.
		e.fields = append(e.fields, field{name, slices.Clip(values)})
	}
	slices.SortFunc(e.fields, func(a, b field) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	e.etag, e.modified = e.Header.Get("Etag"), e.Header.Get("Last-Modified")
	if e.modified == "" {
		e.modified = e.Header.Get("Date")
	}
	return e
}

func (e *entry) freshUntil() int64 { return e.Born + int64(e.Life) }

func (e *entry) validator() bool {
	return e.etag != "" && !e.MadeTag || e.Header["Last-Modified"] != nil
}

// ttl is how long the engine answers the entry without asking for a load, and how long
// it keeps it after that.
func (e *entry) ttl(now time.Time, keep time.Duration) nearcache.TTL {
	life := min(max(time.Duration(e.freshUntil()-now.UnixNano())+e.SWR, time.Millisecond), maxLife)
	if !e.validator() {
		keep = 0
	}
	grace := max(keep-e.SWR, e.SIE-e.SWR, 0)
	if grace == 0 {
		grace = -1
	}
	return nearcache.TTL{L1: life, L2: life, StaleIfError: grace}
}

// useless reports whether the entry would never be answered nor revalidated.
func (e *entry) useless(now time.Time, keep time.Duration) bool {
	return e.freshUntil() <= now.UnixNano() && e.SWR == 0 && e.SIE == 0 && (keep == 0 || !e.validator())
}

// newEntry returns a response as it is stored.
func newEntry(v verdict, status int, h http.Header, body []byte, asked, now time.Time, tags ETags) *entry {
	if cap(body) > len(body)+len(body)/4 {
		body = bytes.Clone(body) // what it grew to is not worth keeping
	}
	e := &entry{Kind: kindResponse, Status: status, Header: storable(h, v.hidden), Body: body,
		Born: now.Add(-initialAge(h, asked, now)).UnixNano(), Life: v.life, SWR: v.swr, SIE: v.sie,
		Authorization: v.authorization, Cookie: v.cookie, NoStale: v.noStale}
	e.complete(tags, now)
	return e.prepare()
}

// complete adds the fields that net/http would add to a handler's response, so that
// each answer has them alike, and an entity tag.
func (e *entry) complete(tags ETags, now time.Time) {
	h := e.Header
	if h["Date"] == nil {
		h["Date"] = []string{now.UTC().Format(http.TimeFormat)}
	}
	if _, ok := h["Content-Type"]; !ok && len(e.Body) > 0 && h["Content-Encoding"] == nil {
		h["Content-Type"] = []string{http.DetectContentType(e.Body)}
	}
	delete(h, "Content-Length")
	if e.Status != http.StatusNoContent {
		h["Content-Length"] = []string{strconv.Itoa(len(e.Body))}
	}
	if tags != NoETags && e.Status == http.StatusOK && h["Etag"] == nil {
		sum := sha256.Sum256(e.Body)
		tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
		if tags == WeakETags {
			tag = "W/" + tag
		}
		h["Etag"], e.MadeTag = []string{tag}, true
	}
}

// updated returns the entry with its fields as merged made them (RFC 9111, 3.2), judged
// anew by v. The body is shared.
func (e *entry) updated(v verdict, merged http.Header, asked, now time.Time) *entry {
	u := newEntry(v, e.Status, merged, e.Body, asked, now, NoETags)
	u.MadeTag = e.MadeTag && u.etag == e.etag
	return u
}

// merged returns the fields of the entry as a 304 response changes them, which say how
// long it lives from then (3.2).
func (e *entry) merged(h http.Header) http.Header {
	m := e.Header.Clone()
	for name, values := range h {
		if !slices.Contains(ofTheBody, name) {
			m[name] = values
		}
	}
	if h["Date"] == nil {
		delete(m, "Date")
	}
	return m
}

// ofTheBody are the fields that a 304 does not change, for they say how the stored body
// is to be read.
var ofTheBody = []string{"Content-Length", "Content-Encoding", "Content-Range"}

// noAge is for a response that comes from the handler just now: it has no Age, unless an
// upstream cache gave it one (RFC 9111, 5.1).
const noAge = -1

// answer writes a response to r: all of it, 304, or the ranges that were asked for. age
// is in seconds, or noAge.
func (rt *route) answer(w http.ResponseWriter, r *http.Request, e *entry, age int64, how forwarded) {
	h := w.Header()
	for i := range e.fields {
		h[e.fields[i].name] = e.fields[i].values
	}
	if age >= 0 {
		h["Age"] = ageField(age)
	}
	rt.note(h, how)
	if e.Status == http.StatusOK {
		// Other units, and ranges of anything but GET, are ignored (RFC 9110, 14.2).
		if r.Method == http.MethodGet && strings.HasPrefix(r.Header.Get("Range"), "bytes=") {
			e.serveRange(w, r)
			return
		}
		if unmodified(r, e.etag, e.modified) {
			writeNotModified(w)
			return
		}
	}
	w.WriteHeader(e.Status)
	if r.Method != http.MethodHead && len(e.Body) > 0 {
		_, _ = w.Write(e.Body) // the client is gone, and nobody else cares
	}
}

// serveRange leaves ranges and their preconditions to net/http (RFC 9110, 14 and 13.1.5).
func (e *entry) serveRange(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	delete(h, "Content-Length")
	modified, _ := parseDate(e.Header.Get("Last-Modified"))
	http.ServeContent(w, r, "", modified, bytes.NewReader(e.Body))
}

// ages holds Age fields, made when they are first needed: they are the same for all
// responses, and a hit should not make one.
var ages [1 << 15]atomic.Pointer[[]string]

func ageField(age int64) []string {
	if age >= int64(len(ages)) {
		return []string{strconv.FormatInt(age, 10)}
	}
	if p := ages[age].Load(); p != nil {
		return *p
	}
	values := []string{strconv.FormatInt(age, 10)}
	ages[age].Store(&values)
	return values
}

// entryCodec is msgpack of the exported fields.
type entryCodec struct{}

var msgpack = codec.Msgpack[*entry]()

// ID is not msgpack's own: this layout has a number, to be raised when it changes.
func (entryCodec) ID() byte { return 65 }

func (entryCodec) Append(dst []byte, e *entry) ([]byte, error) { return msgpack.Append(dst, e) }

func (entryCodec) Decode(data []byte) (*entry, error) {
	e, err := msgpack.Decode(data)
	switch {
	case err != nil:
		return nil, err
	case e == nil || e.Kind < kindResponse || e.Kind > kindPass || e.Kind == kindResponse && e.Status < 200:
		return nil, fmt.Errorf("httpcache: %d bytes that are no entry", len(data))
	}
	return e.prepare(), nil
}
