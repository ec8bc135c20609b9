package main

import (
	_ "github.com/zitadel/oidc/v3/pkg/op"
)

func main() {}
