package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// terminal is where a command's output goes. Writes of one command may come from many
// goroutines.
type terminal struct {
	in       io.Reader
	out, err io.Writer
	json     bool

	mu sync.Mutex
}

// object prints v as one line of JSON.
func (t *terminal) object(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return t.print(string(b) + "\n")
}

func (t *terminal) print(text string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := io.WriteString(t.out, text)
	return err
}

// note says something beside the output.
func (t *terminal) note(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.err, format+"\n", args...)
}

func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// progress rewrites one line while work goes on, if somebody watches.
func (t *terminal) progress(format string, args ...any) {
	if isTerminal(t.err) {
		t.mu.Lock()
		defer t.mu.Unlock()
		fmt.Fprintf(t.err, "\r%-79.79s", fmt.Sprintf(format, args...))
	}
}

// done leaves the place of the progress to what follows.
func (t *terminal) done() {
	if isTerminal(t.err) {
		fmt.Fprintf(t.err, "\r%79s\r", "")
	}
}

// wrapped breaks text into lines of at most width, each after indent; words longer than
// that stay whole.
func wrapped(text, indent string, width int) string {
	var b strings.Builder
	at := 0
	for _, word := range strings.Fields(text) {
		n := len([]rune(word))
		switch {
		case at == 0:
			b.WriteString(indent)
			at = len(indent)
		case at+1+n > width:
			b.WriteString("\n" + indent)
			at = len(indent)
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	return b.String() + "\n"
}

// paragraphs fills each paragraph of a text anew.
func paragraphs(text string) string {
	parts := strings.Split(text, "\n\n")
	for i := range parts {
		parts[i] = strings.TrimRight(wrapped(parts[i], "", 79), "\n")
	}
	return strings.Join(parts, "\n\n")
}

// short writes a duration with three digits.
func short(d time.Duration) string {
	if d < 0 {
		return "-" + short(-d)
	}
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "µs"}} {
		if d >= u.unit {
			v := float64(d) / float64(u.unit)
			precision := 2 // digits after the point
			for w := v; w >= 10 && precision > 0; w /= 10 {
				precision--
			}
			return strconv.FormatFloat(v, 'f', precision, 64) + " " + u.name
		}
	}
	return strconv.FormatInt(int64(d), 10) + " ns"
}

// count writes 1 and "key" as "1 key", 2 and "key" as "2 keys".
func count[T int | int64 | uint64](n T, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// ms is a duration in JSON: milliseconds, with the digits of microseconds.
func ms(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}
