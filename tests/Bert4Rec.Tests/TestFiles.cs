namespace Bert4Rec.Tests;

/// <summary>Where tests find their files: the repository's own fixtures, and data that may not be in the repository.</summary>
internal static class TestFiles
{
    /// <summary>The folder with Bert4Rec.sln.</summary>
    public static string RepositoryRoot { get; } = FindRoot();

    /// <summary>The C# files under a folder of the repository, by their paths in it, with slashes; not what the build made.</summary>
    public static IEnumerable<string> Sources(string folder) =>
        Directory.EnumerateFiles(Path.Combine(RepositoryRoot, folder), "*.cs", SearchOption.AllDirectories)
            .Select(path => Path.GetRelativePath(RepositoryRoot, path).Replace('\\', '/'))
            .Where(path => !path.Contains("/obj/") && !path.Contains("/bin/"))
            .Order(StringComparer.Ordinal);

    /// <summary>Makes a symbolic link; skips the test where nobody may.</summary>
    public static void Link(string path, string target)
    {
        try
        {
            File.CreateSymbolicLink(path, target);
        }
        catch (IOException e) when (OperatingSystem.IsWindows())
        {
            Skip.If(true, $"no links here: {e.Message}");
        }
    }

    /// <summary>All files of a pattern in tests/fixtures and in $BERT4REC_FIXTURES.</summary>
    public static IReadOnlyList<string> Fixtures(string pattern)
    {
        string own = Path.Combine(RepositoryRoot, "tests", "fixtures");
        // A test runs in a folder of its own: what is relative is meant from here.
        string more = Path.GetFullPath(Environment.GetEnvironmentVariable("BERT4REC_FIXTURES") ?? own, RepositoryRoot);
        return
        [
            .. new[] { own, more }.Distinct().SelectMany(folder => Directory.GetFiles(folder, pattern).Order(StringComparer.Ordinal)),
        ];
    }

    /// <summary>Whether a fixture is one of those that lie here, whose numbers are well conditioned. Of others, such as of large initial
    /// weights, float32 says less: two computations of them differ by up to 3 · 10⁻⁵ of a gradient.</summary>
    public static bool IsOwnFixture(string path) => Path.GetFileName(path) is "recbole-step.safetensors" or "sasrec-step.safetensors";

    /// <summary>A file or folder of $BERT4REC_DATA or ../shared/data, or null where it is not there: skip the test then.</summary>
    public static string? SharedData(string relative)
    {
        string?[] folders = [Environment.GetEnvironmentVariable("BERT4REC_DATA"), Path.Combine(RepositoryRoot, "..", "shared", "data")];
        return folders.Where(folder => !string.IsNullOrEmpty(folder)).Select(folder => Path.GetFullPath(Path.Combine(folder!, relative)))
            .FirstOrDefault(Path.Exists);
    }

    /// <summary>A file of $BERT4REC_FIXTURES or ../shared/fixtures, or null where it is not there: skip the test then.</summary>
    public static string? SharedFixture(string name)
    {
        string?[] folders =
            [Environment.GetEnvironmentVariable("BERT4REC_FIXTURES"), Path.Combine(RepositoryRoot, "..", "shared", "fixtures")];
        return folders.Where(folder => !string.IsNullOrEmpty(folder)).Select(folder => Path.GetFullPath(Path.Combine(folder!, name)))
            .FirstOrDefault(File.Exists);
    }

    private static string FindRoot()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "Bert4Rec.sln")))
            folder = Path.GetDirectoryName(folder);
        return folder ?? throw new InvalidOperationException($"no Bert4Rec.sln above {AppContext.BaseDirectory}");
    }
}
