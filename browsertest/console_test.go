package browsertest_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// console is what a browser complains of in one tab: what breaks a security policy, files
// that are missing, exceptions, and all that scripts write.
type console struct {
	mu    sync.Mutex
	lines []string
}

func watchConsole(t *testing.T, ctx context.Context) *console {
	t.Helper()
	c := new(console)
	err := chromedp.Listen(ctx, func(event any) {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch event := event.(type) {
		case *log.EventEntryAdded:
			c.lines = append(c.lines, fmt.Sprintf("%s: %s", event.Entry.Source, event.Entry.Text))
		case *runtime.EventExceptionThrown:
			c.lines = append(c.lines, "exception: "+event.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			c.lines = append(c.lines, fmt.Sprintf("console.%s", event.Type))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// take returns what there is, and forgets it.
func (c *console) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := c.lines
	c.lines = nil
	return lines
}
