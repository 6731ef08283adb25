// Probe is the lab's own small program for pods: a server that says which pod answered, and a client that looks a name
// up or fetches an address. It is what the lab is tested with before a shop is there.
//
//	probe serve [ADDRESS]   answers its host name on every path, until told to stop
//	probe lookup NAME       prints the addresses of a name, one a line
//	probe get URL           prints the answer's body; ends 1 when it is not 200
//	probe burn SECONDS      keeps one processor busy
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fail("usage: probe serve [ADDRESS] | lookup NAME | get URL | burn SECONDS")
	}
	argument := ""
	if len(os.Args) > 2 {
		argument = os.Args[2]
	}
	switch os.Args[1] {
	case "serve":
		serve(argument)
	case "lookup":
		lookup(argument)
	case "get":
		get(argument)
	case "burn":
		burn(argument)
	default:
		fail("there is no verb %q", os.Args[1])
	}
}

func serve(address string) {
	if address == "" {
		address = ":8080"
	}
	name, err := os.Hostname()
	if err != nil {
		fail("could not tell the host name: %v", err)
	}
	server := &http.Server{
		Addr: address,
		Handler: http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
			fmt.Printf("%s %s from %s\n", request.Method, request.URL.Path, request.RemoteAddr)
			fmt.Fprintln(answer, name)
		}),
		ReadHeaderTimeout: 5 * time.Second,
	}
	told, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	finished := make(chan struct{})
	go func() {
		<-told.Done()
		_ = server.Shutdown(context.Background())
		close(finished)
	}()
	fmt.Printf("probe: %s listens on %s\n", name, address)
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		fail("could not listen on %s: %v", address, err)
	}
	<-finished
}

func lookup(name string) {
	limited, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(limited, name)
	if err != nil {
		fail("could not look %s up: %v", name, err)
	}
	for _, address := range addresses {
		fmt.Println(address)
	}
}

func get(url string) {
	client := &http.Client{Timeout: 10 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		fail("could not fetch %s: %v", url, err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
		fail("could not read the answer of %s: %v", url, err)
	}
	if answer.StatusCode != http.StatusOK {
		fail("%s answered %s", url, answer.Status)
	}
}

func burn(seconds string) {
	count, err := strconv.Atoi(seconds)
	if err != nil {
		fail("%q is not a number of seconds", seconds)
	}
	for end := time.Now().Add(time.Duration(count) * time.Second); time.Now().Before(end); {
	}
}

func fail(message string, values ...any) {
	fmt.Fprintf(os.Stderr, "probe: "+message+"\n", values...)
	os.Exit(1)
}
