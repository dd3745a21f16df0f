package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// screen shows progress: on a terminal as one line that is rewritten, elsewhere as
// a line every ten seconds.
type screen struct {
	out      io.Writer
	terminal bool
	now      string
	began    time.Time
	shown    time.Time
}

func newScreen(out *os.File) *screen {
	s := &screen{out: out, began: time.Now()}
	if info, err := out.Stat(); err == nil {
		s.terminal = info.Mode()&os.ModeCharDevice != 0
	}
	return s
}

// part begins a part of the run.
func (s *screen) part(title string) {
	s.now = title
	s.show("preparing")
}

// progress tells how far the part is.
func (s *screen) progress(done, all int, on string) {
	pace := 10 * time.Second
	if s.terminal {
		pace = 100 * time.Millisecond
	}
	if time.Since(s.shown) >= pace {
		s.show(fmt.Sprintf("%d of %d, %s", done, all, on))
	}
}

func (s *screen) show(what string) {
	s.shown = time.Now()
	line := fmt.Sprintf("[%s] %s: %s", time.Since(s.began).Round(time.Second), s.now, what)
	if s.terminal {
		fmt.Fprintf(s.out, "\r%-79.79s", line)
		return
	}
	fmt.Fprintf(s.out, "%.79s\n", line)
}

// done leaves the place of the progress to what follows.
func (s *screen) done() {
	if s.terminal {
		fmt.Fprintf(s.out, "\r%79s\r", "")
	}
}
