package supervisor

// NodeInit is the word after which the program that calls Up must call RunNodeInit with the arguments that follow: it is
// started again as the first process of a node's namespaces.
const NodeInit = "node-init"
