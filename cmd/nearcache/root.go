package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// patience is how long a command waits for an answer of Redis. It is no cache: nobody
// waits behind it, and a slow answer is better than none.
const patience = 5 * time.Second

// options are those that all commands share.
type options struct {
	urls   []string
	name   string
	shards int
	json   bool
}

const about = `Looks into, changes and checks the caches of github.com/nearcache/nearcache that
share a Redis.

Which Redis: --redis, or the variable NEARCACHE_REDIS, or redis://127.0.0.1:6379.
  HOST:PORT
  redis://USER:PASSWORD@HOST:PORT/DB          rediss:// for TLS
  redis+cluster://HOST:PORT?addr=HOST2:PORT   or --redis several times
  redis+sentinel://HOST:PORT/MASTER?addr=...  user and password are the
                                              sentinels'; ?username= and
                                              ?password= the master's
Other parameters are go-redis's, such as read_timeout=1s or skip_verify=true.

TLS trusts the system's roots; SSL_CERT_FILE names others. Passwords are better
kept in the variable than in an argument, which others on the machine can see.

Exit codes:
  0  done
  1  what was asked for is not so. get: no value that readers take; doctor: a
     problem; chaos: a broken promise
  2  the command could not do its work`

func newRoot(t *terminal) *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use: "nearcache", Short: "Look into, change and check caches in Redis", Long: about,
		SilenceUsage: true, SilenceErrors: true,
	}
	f := root.PersistentFlags()
	f.StringArrayVar(&o.urls, "redis", nil, "`URL` of Redis; several are nodes of one cluster")
	f.StringVarP(&o.name, "name", "n", "", "the cache's Config.`Name`")
	f.IntVar(&o.shards, "shards", 0, "number of shards, if Redis does not have it recorded")
	f.BoolVar(&o.json, "json", false, "print JSON: one object, or one a line")
	root.PersistentPreRun = func(*cobra.Command, []string) { t.json = o.json }
	root.AddCommand(
		getCommand(o, t), explainCommand(o, t),
		invalidateCommand(o, t), expireCommand(o, t), tagCommand(o, t), clearCommand(o, t),
		watchCommand(o, t), statsCommand(o, t), doctorCommand(o, t), benchCommand(o, t), chaosCommand(o, t),
	)
	for _, c := range root.Commands() {
		c.Long = paragraphs(c.Long)
	}
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", ".FlagUsagesWrapped 79"))
	return root
}

// dial connects to the Redis of the options, and says hello.
func (o *options) dial(ctx context.Context) (*deployment, error) {
	urls := o.urls
	if len(urls) == 0 {
		if url := os.Getenv("NEARCACHE_REDIS"); url != "" {
			urls = []string{url}
		} else {
			urls = []string{"redis://127.0.0.1:6379"}
		}
	}
	d, err := parseDeployment(urls)
	if err != nil {
		return nil, err
	}
	if err := d.connect(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// open also finds the namespace of the options.
func (o *options) open(ctx context.Context) (*namespace, error) {
	d, err := o.dial(ctx)
	if err != nil {
		return nil, err
	}
	ns, err := findNamespace(ctx, d, o.name, o.shards)
	if err != nil {
		d.client.Close()
		return nil, err
	}
	return ns, nil
}
