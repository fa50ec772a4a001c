#!/usr/bin/perl
# A server as Server::Starter's documentation has it: takes the sockets that server_ports() names, and knows of
# nothing else. Answers each connection with its generation and the port's name, and ends on TERM.
use strict;
use warnings;
use IO::Handle;
use IO::Select;
use IO::Socket;
use Server::Starter qw(server_ports);

$SIG{TERM} = sub { exit 0 };
my %name;
my $select = IO::Select->new;
my $ports = server_ports();
for my $name (sort keys %$ports) {
    open(my $sock, '+<&=', $ports->{$name}) or die "cannot use descriptor $ports->{$name}: $!";
    bless $sock, 'IO::Socket';
    $name{ fileno $sock } = $name;
    $select->add($sock);
}
STDOUT->autoflush(1);
print "serving $ENV{SERVER_STARTER_GENERATION}\n";
while (1) {
    for my $sock ($select->can_read) {
        # Blocks where another worker was faster.
        my $conn = $sock->accept or next;
        print {$conn} "generation $ENV{SERVER_STARTER_GENERATION} on $name{fileno $sock}\n";
        close $conn;
    }
}
