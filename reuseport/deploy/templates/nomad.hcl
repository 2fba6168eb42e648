# @{name}.nomad.hcl: nomad job run @{name}.nomad.hcl
job "@{name}" {
  type = "service"

  update {
    max_parallel = 1
    canary       = 1
    auto_promote = true
    auto_revert  = true
    health_check = "checks"
  }

  group "@{name}" {
    count = 2

    network {
      port "http" { to = @{port} }
      port "admin" { to = @{admin} }
    }

    service {
      name     = "@{name}"
      port     = "http"
      provider = "nomad"

      check {
        type     = "http"
        port     = "admin"
        path     = "/readyz"
        interval = "2s"
        timeout  = "2s"
      }
    }

    task "@{name}" {
      driver = "docker"
      user   = "@{user}:@{user}"

      # @{sum}
      # The client's max_kill_timeout is 30s unless it says otherwise: raise it there, too.
      kill_timeout = "@{stop}s"
      kill_signal  = "SIGTERM"

      config {
        image           = "@{name}:latest"
        args            = @{arguments}
        ports           = ["http", "admin"]
        readonly_rootfs = true
        cap_drop        = ["all"]
        # For the kernel to give each connection to the worker with least to do: user = "0:0" above, then
        # "--user", "@{user}", "--group", "@{user}" at the end of args, and
        # cap_add = ["bpf", "setuid", "setgid", "kill"], which the client's allow_caps must name.

        mount {
          type   = "tmpfs"
          target = "/tmp"
        }
      }

      resources {
        cpu    = 1000
        memory = 1024
      }
    }
  }
}
