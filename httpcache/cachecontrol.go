package httpcache

import (
	"math"
	"strings"
	"time"
)

// directives are those of one Cache-Control field (RFC 9111, 5.2), of a request or a
// response. Durations are negative where the directive is missing.
type directives struct {
	noStore, noCache, private, public               bool
	mustRevalidate, proxyRevalidate, mustUnderstand bool
	onlyIfCached                                    bool
	maxAge, sMaxAge, minFresh, maxStale             time.Duration
	swr, sie                                        time.Duration // RFC 5861
	hidden                                          []string      // fields named by no-cache="..." and private="..."
}

const (
	absent  time.Duration = -1
	maxLife               = 10 * 365 * 24 * time.Hour
)

// parseDirectives reads all lines of a Cache-Control field. Names are compared
// without regard to case. Of a directive that occurs twice, the more careful counts;
// a number that is none is 0, which is stale (4.2.1).
func parseDirectives(lines []string) directives {
	d := directives{maxAge: absent, sMaxAge: absent, minFresh: absent, maxStale: absent, swr: absent, sie: absent}
	for _, line := range lines {
		for line != "" {
			var name, value string
			var has bool
			name, value, has, line = nextDirective(line)
			d.set(name, value, has)
		}
	}
	return d
}

func (d *directives) set(name, value string, has bool) {
	switch strings.ToLower(name) {
	case "no-store":
		d.noStore = true
	case "no-cache":
		d.qualified(&d.noCache, value)
	case "private":
		d.qualified(&d.private, value)
	case "public":
		d.public = true
	case "must-revalidate":
		d.mustRevalidate = true
	case "proxy-revalidate":
		d.proxyRevalidate = true
	case "must-understand":
		d.mustUnderstand = true
	case "only-if-cached":
		d.onlyIfCached = true
	case "max-age":
		lower(&d.maxAge, seconds(value))
	case "s-maxage":
		lower(&d.sMaxAge, seconds(value))
	case "stale-while-revalidate":
		lower(&d.swr, seconds(value))
	case "stale-if-error":
		lower(&d.sie, seconds(value))
	case "min-fresh":
		d.minFresh = max(d.minFresh, seconds(value))
	case "max-stale":
		n := maxLife // without a value: however stale
		if has {
			n = seconds(value)
		}
		lower(&d.maxStale, n)
	}
}

// qualified notes no-cache or private. With a list they are about those fields only.
func (d *directives) qualified(whole *bool, list string) {
	if list == "" {
		*whole = true
		return
	}
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			d.hidden = append(d.hidden, name)
		}
	}
}

func lower(d *time.Duration, n time.Duration) {
	if *d < 0 || n < *d {
		*d = n
	}
}

// nextDirective takes one directive off a line: a token, and after "=" a token or a
// quoted string (RFC 9110, 5.6).
func nextDirective(line string) (name, value string, has bool, rest string) {
	line = strings.TrimLeft(line, " \t,")
	end := strings.IndexAny(line, "=,")
	if end < 0 || line[end] == ',' {
		name, rest = cutAt(line, end)
		return strings.TrimSpace(name), "", false, rest
	}
	name, line = strings.TrimSpace(line[:end]), strings.TrimLeft(line[end+1:], " \t")
	if strings.HasPrefix(line, `"`) {
		value, rest = unquote(line[1:])
		return name, value, true, rest
	}
	value, rest = cutAt(line, strings.IndexByte(line, ','))
	return name, strings.TrimSpace(value), true, rest
}

func cutAt(s string, i int) (before, after string) {
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i+1:]
}

// unquote reads a quoted string whose first quote has been read, and what follows it
// up to the next comma. One that does not end is taken to its end.
func unquote(s string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case c == '"':
			_, rest = cutAt(s[i+1:], strings.IndexByte(s[i+1:], ','))
			return b.String(), rest
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}

// seconds reads delta-seconds (RFC 9111, 1.2.2): digits and nothing else, with a
// number that is too large taken for the largest. What is no number is 0.
func seconds(s string) time.Duration {
	n, _ := digits(s)
	return min(time.Duration(n)*time.Second, maxLife)
}

func digits(s string) (n int64, ok bool) {
	if s == "" {
		return 0, false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = min(n*10+int64(s[i]-'0'), math.MaxInt32)
	}
	return n, true
}

// isToken reports whether s is a token (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}
