package testserver

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// FindRabbitMQ returns the path of the script that runs RabbitMQ. Its error
// says how to install it.
func FindRabbitMQ() (string, error) {
	for _, path := range []string{
		// Debian's in PATH changes the user and drops the environment.
		"/usr/lib/rabbitmq/bin/rabbitmq-server",
		"/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server",
		"/usr/local/opt/rabbitmq/sbin/rabbitmq-server",
	} {
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path, nil
		}
	}
	return "", errors.New("RabbitMQ is not installed: apt-get install rabbitmq-server")
}

// StartRabbitMQ starts a RabbitMQ with its files in dir and returns when it
// answers. A restarted one has its durable queues and messages. The user of
// its URL may do anything. The context bounds the start.
func StartRabbitMQ(ctx context.Context, dir string) (*Server, error) {
	program, err := FindRabbitMQ()
	if err != nil {
		return nil, err
	}
	epmd, err := exec.LookPath("epmd")
	if err != nil {
		return nil, errors.New("epmd is not installed, which RabbitMQ needs: apt-get install erlang-base")
	}
	password := secret()
	return launch(ctx, "rabbitmq", dir, 3, func(dir string, ports []string) (*Server, error) {
		port, distribution, names := ports[0], ports[1], ports[2]
		s := &Server{Addr: net.JoinHostPort(loopback, port)}
		s.URL = "amqp://stoa:" + password + "@" + s.Addr + "/"
		in := func(name string) string { return filepath.Join(dir, name) }
		for name, content := range map[string]string{
			"rabbitmq.conf": "", "advanced.config": "[].\n", "enabled_plugins": "[].\n", "rabbitmq-env.conf": "",
		} {
			if err := os.WriteFile(in(name), []byte(content), 0o600); err != nil {
				return nil, err
			}
		}
		env := environment(
			"HOME="+dir, // for .erlang.cookie
			"ERL_EPMD_ADDRESS="+loopback,
			"ERL_EPMD_PORT="+names,
			"ERL_FLAGS=-start_epmd false", // there is ours
			"RABBITMQ_NODENAME=stoa@localhost",
			"RABBITMQ_NODE_IP_ADDRESS="+loopback,
			"RABBITMQ_NODE_PORT="+port,
			"RABBITMQ_DIST_PORT="+distribution,
			"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
			"RABBITMQ_DEFAULT_USER=stoa",
			"RABBITMQ_DEFAULT_PASS="+password,
			"RABBITMQ_MNESIA_BASE="+in("mnesia"),
			"RABBITMQ_LOG_BASE="+in("log"),
			"RABBITMQ_LOGS=-", // into ours
			"RABBITMQ_PID_FILE="+in("rabbitmq.pid"),
			"RABBITMQ_GENERATED_CONFIG_DIR="+in("generated"),
			"RABBITMQ_SCHEMA_DIR="+in("schema"),
			// Files of our own also where the defaults are those of the machine.
			"RABBITMQ_CONF_ENV_FILE="+in("rabbitmq-env.conf"),
			"RABBITMQ_CONFIG_FILE="+in("rabbitmq.conf"),
			"RABBITMQ_CONFIG_FILES="+in("conf.d/*.conf"),
			"RABBITMQ_ADVANCED_CONFIG_FILE="+in("advanced.config"),
			"RABBITMQ_ENABLED_PLUGINS_FILE="+in("enabled_plugins"),
			// The script then becomes the server instead of waiting for it, so
			// that signals, ours and that of our end, reach the server.
			"RUNNING_UNDER_SYSTEMD=true",
			// To sleep between any two of the thousands of files it opens costs
			// a third of the time it takes to start.
			"RABBITMQ_SCHEDULER_BUSY_WAIT_THRESHOLD=very_short",
		)
		s.steps = []step{{
			// Erlang's name server. The one that RabbitMQ starts would outlive it.
			command: func(ctx context.Context) *exec.Cmd {
				cmd := exec.CommandContext(ctx, epmd, "-address", loopback, "-port", names) //nolint:gosec // found on the machine
				cmd.Dir, cmd.Env = dir, environment()
				return cmd
			},
			ready: func(ctx context.Context, _ int) error {
				conn, err := dial(ctx, net.JoinHostPort(loopback, names))
				if err != nil {
					return err
				}
				return conn.Close()
			},
		}, {
			command: func(ctx context.Context) *exec.Cmd {
				cmd := exec.CommandContext(ctx, program)
				cmd.Dir, cmd.Env = dir, env
				return cmd
			},
			// Only ours knows the password.
			ready: func(context.Context, int) error {
				conn, err := amqp.DialConfig(s.URL, amqp.Config{Dial: amqp.DefaultDial(2 * time.Second)})
				if err != nil {
					return err
				}
				return conn.Close()
			},
		}}
		return s, nil
	})
}
